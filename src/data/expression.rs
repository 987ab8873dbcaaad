//! Small expressions and templates over the columns of a row, in the language that chat templates are written in too.
//!
//! A pipeline may come from anyone, so what is written here is on a ration as well: it can read the row and compute, within
//! bounds, and nothing else. Strings have Python's methods (`text.startswith('a')`); `matches(text, pattern)` is a search
//! with a regular expression, and `functions.rs` has the others.

use std::collections::BTreeSet;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use regex::Regex;
use serde::Serialize;

use super::calls::{self, Known};
use super::functions;

/// How many steps one evaluation may take.
const FUEL: u64 = 1_000_000;
/// The longest expression or template, in bytes.
const LONGEST: usize = 64 << 10;
/// How much memory one pattern may take, compiled.
const PATTERN_BYTES: usize = 1 << 20;

/// An expression over a row: `language == 'fr' and score >= 4`.
pub struct Expression {
    environment: Environment<'static>,
    source: String,
}

/// The name under which the environment keeps the one template.
const NAME: &str = "template";

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        let environment = environment(source)?;
        let expression = environment.compile_expression(source).map_err(|error| told(&error))?;
        let undeclared = expression.undeclared_variables(false);
        calls::of_expression(source, &Known { environment: &environment, undeclared })?;
        drop(expression);
        Ok(Self { environment, source: source.to_owned() })
    }

    /// Returns the names of what the expression reads: columns, and functions that it calls.
    pub fn names(&self) -> BTreeSet<String> {
        let expression = self.environment.compile_expression(&self.source);
        expression.map(|expression| expression.undeclared_variables(false).into_iter().collect()).unwrap_or_default()
    }

    /// Evaluates the expression over `row`, which must be a mapping.
    pub fn value(&self, row: &impl Serialize) -> Result<serde_json::Value, String> {
        let expression = self.environment.compile_expression(&self.source).map_err(|error| told(&error))?;
        let value = expression.eval(row).map_err(|error| told(&error))?;
        if value.is_undefined() {
            return Err("its value is undefined; the row has no such column".into());
        }
        serde_json::to_value(&value).map_err(|error| error.to_string())
    }

    /// Returns whether the expression holds for `row`.
    pub fn holds(&self, row: &impl Serialize) -> Result<bool, String> {
        let expression = self.environment.compile_expression(&self.source).map_err(|error| told(&error))?;
        let value = expression.eval(row).map_err(|error| told(&error))?;
        if value.is_undefined() {
            return Err("its value is undefined; the row has no such column".into());
        }
        Ok(value.is_true())
    }
}

/// Text with holes for a row's columns: `{{context}}\n{{question}}`.
pub struct TextTemplate {
    environment: Environment<'static>,
}

impl TextTemplate {
    /// Reads a template; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        let mut environment = environment(source)?;
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| told(&error))?;
        let undeclared = environment.get_template(NAME).map_err(|error| told(&error))?.undeclared_variables(false);
        calls::of_template(source, &Known { environment: &environment, undeclared })?;
        Ok(Self { environment })
    }

    /// Fills the holes from `row`, which must be a mapping. A hole for which there is no column is an error.
    pub fn render(&self, row: &impl Serialize) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(row).map_err(|error| told(&error))
    }
}

fn environment(source: &str) -> Result<Environment<'static>, String> {
    if source.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.set_keep_trailing_newline(true);
    functions::add(&mut environment);
    Ok(environment)
}

/// Reads a regular expression, whose size is bounded; the error says what is wrong with it.
pub fn pattern_of(pattern: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map_err(|error| {
        // The last line says what is wrong; those before it draw where, which needs a line of its own.
        let told = error.to_string();
        let told = told.lines().next_back().unwrap_or_default();
        format!("`{pattern}` is no regular expression: {}", told.strip_prefix("error: ").unwrap_or(told))
    })
}

/// Returns what minijinja says, on one line, with the line where there are several.
fn told(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if line > 1 => format!("{what} (in its line {line})"),
        _ => what,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_read_columns_and_compute() {
        let row = json!({"lang": "fr", "score": 4, "tags": ["a"], "text": "Été 2024", "none": null});
        for (source, holds) in [
            ("lang == 'fr' and score >= 4", true),
            ("score > 4.5 or 'b' in tags", false),
            ("text.lower().startswith('été')", true),
            ("matches(text, '(?i)ÉTÉ [0-9]+')", true),
            ("text | length == 8", true),
            ("missing is undefined or not missing", true),
            ("none is none", true),
            ("lang in ['de', 'en']", false),
        ] {
            assert_eq!(Expression::new(source).unwrap().holds(&row), Ok(holds), "{source}");
        }
        assert_eq!(Expression::new("score * 2").unwrap().value(&row), Ok(json!(8)));
    }

    #[test]
    fn mistakes_are_told() {
        let row = json!({"a": 1});
        assert!(Expression::new("a ==").is_err());
        assert!(Expression::new("missing").unwrap().holds(&row).unwrap_err().contains("undefined"));
        assert!(Expression::new("missing > 3").unwrap().holds(&row).is_err());
        assert!(
            Expression::new("matches('a', '(' ~ '')")
                .unwrap()
                .holds(&row)
                .unwrap_err()
                .contains("no regular expression")
        );
        assert!(TextTemplate::new("{{a").is_err());
        assert!(TextTemplate::new("{{b}}").unwrap().render(&row).is_err());
        assert!(
            TextTemplate::new("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}")
                .unwrap()
                .render(&row)
                .is_err()
        );
        assert_eq!(TextTemplate::new("{{a}}<é>\n").unwrap().render(&row).as_deref(), Ok("1<é>\n"));
    }
}
