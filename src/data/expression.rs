//! Small expressions and templates over the columns of a row, in the language that chat templates are written in too.
//!
//! A pipeline may come from anyone, so what is written here is on a ration as well: it can read the row and compute, within
//! bounds, and nothing else. Strings have Python's methods (`text.startswith('a')`); `matches(text, pattern)` is a search
//! with a regular expression, and `functions.rs` has the others.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use regex::Regex;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::calls::{self, Known, Words};
use super::functions;

/// How many steps one evaluation may take.
const FUEL: u64 = 1_000_000;
/// The longest expression or template, in bytes.
const LONGEST: usize = 64 << 10;
/// How much memory one pattern may take, compiled.
const PATTERN_BYTES: usize = 1 << 20;
/// Functions that find columns by names which are no words of an expression.
const READS_ANY: [&str; 2] = ["column", "debug"];

/// What expressions and templates are read in. It holds none of them.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// What has named columns, as a row has.
pub trait Columns {
    /// Returns the value of a column.
    fn column(&self, name: &str) -> Option<Cow<'_, Value>>;

    /// Returns the names of all columns.
    fn names(&self) -> Vec<String>;
}

impl Columns for Map<String, Value> {
    fn column(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.get(name).map(Cow::Borrowed)
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// What an expression or a template reads of a row.
struct Reads {
    words: Words,
    /// Whether it may read columns that none of its words names.
    any: bool,
}

impl Reads {
    fn new(words: Words) -> Self {
        Self { any: words.unknown || READS_ANY.iter().any(|name| words.names.contains(*name)), words }
    }

    /// Returns what is read of a row. The rest, which is most of it, is not copied.
    fn of<'a, R: Columns>(&'a self, row: &'a R) -> Seen<'a, R> {
        Seen { row, reads: self }
    }
}

/// A row as an evaluation sees it.
struct Seen<'a, R> {
    row: &'a R,
    reads: &'a Reads,
}

impl<R: Columns> Serialize for Seen<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = if self.reads.any { self.row.names() } else { Vec::new() };
        let named = self.reads.words.names.iter().filter(|_| !self.reads.any);
        let mut map = serializer.serialize_map(None)?;
        for name in all.iter().chain(named) {
            if let Some(value) = self.row.column(name) {
                map.serialize_entry(name, &*value)?;
            }
        }
        map.end()
    }
}

/// An expression over a row: `language == 'fr' and score >= 4`.
pub struct Expression {
    compiled: minijinja::Expression<'static, 'static>,
    reads: Reads,
}

/// The name under which the environment keeps the one template.
const NAME: &str = "template";

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        bounded(source)?;
        let compiled = ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| told(&error))?;
        let undeclared = compiled.undeclared_variables(false);
        let words = calls::of_expression(source, &Known { environment: &ENVIRONMENT, undeclared })?;
        Ok(Self { compiled, reads: Reads::new(words) })
    }

    /// Returns words among which are the names of all columns that the expression reads.
    pub fn words(&self) -> &BTreeSet<String> {
        &self.reads.words.names
    }

    /// Evaluates the expression over `row`.
    pub fn value(&self, row: &impl Columns) -> Result<Value, String> {
        self.evaluated(row).and_then(|value| serde_json::to_value(&value).map_err(|error| error.to_string()))
    }

    /// Returns whether the expression holds for `row`.
    pub fn holds(&self, row: &impl Columns) -> Result<bool, String> {
        self.evaluated(row).map(|value| value.is_true())
    }

    fn evaluated(&self, row: &impl Columns) -> Result<minijinja::Value, String> {
        let value = self.compiled.eval(self.reads.of(row)).map_err(|error| told(&error))?;
        if value.is_undefined() {
            return Err("its value is undefined; the row has no such column".into());
        }
        Ok(value)
    }
}

/// Text with holes for a row's columns: `{{context}}\n{{question}}`.
pub struct TextTemplate {
    environment: Environment<'static>,
    reads: Reads,
}

impl TextTemplate {
    /// Reads a template; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        bounded(source)?;
        let mut environment = environment();
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| told(&error))?;
        let undeclared = environment.get_template(NAME).map_err(|error| told(&error))?.undeclared_variables(false);
        let words = calls::of_template(source, &Known { environment: &environment, undeclared })?;
        Ok(Self { environment, reads: Reads::new(words) })
    }

    /// Fills the holes from `row`. A hole for which there is no column is an error.
    pub fn render(&self, row: &impl Columns) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(self.reads.of(row)).map_err(|error| told(&error))
    }
}

fn bounded(source: &str) -> Result<(), String> {
    if source.len() > LONGEST { Err(format!("it is longer than {LONGEST} bytes")) } else { Ok(()) }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.set_keep_trailing_newline(true);
    functions::add(&mut environment);
    environment
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

    fn row(values: Value) -> Map<String, Value> {
        let Value::Object(row) = values else { unreachable!("a row is an object") };
        row
    }

    #[test]
    fn expressions_read_columns_and_compute() {
        let row = row(json!({"lang": "fr", "score": 4, "tags": ["a"], "text": "Été 2024", "none": null}));
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

    /// A row that says which of its columns were looked at.
    struct Watched(Map<String, Value>, std::sync::Mutex<Vec<String>>);

    impl Columns for Watched {
        fn column(&self, name: &str) -> Option<Cow<'_, Value>> {
            self.1.lock().unwrap().push(name.to_owned());
            self.0.column(name)
        }

        fn names(&self) -> Vec<String> {
            self.0.names()
        }
    }

    #[test]
    fn only_what_is_read_is_copied() {
        let columns = json!({"a": "x", "b": {"c": [1, 2]}, "a name": 7, "unread": "long"});
        let read = |evaluate: &dyn Fn(&Watched)| {
            let watched = Watched(row(columns.clone()), std::sync::Mutex::default());
            evaluate(&watched);
            watched.1.into_inner().unwrap().join(",")
        };
        let of_expression = |source: &str, holds: bool| {
            read(&|row| assert_eq!(Expression::new(source).unwrap().holds(row), Ok(holds), "{source}"))
        };
        let of_template = |source: &str, text: &str| {
            read(&|row| assert_eq!(TextTemplate::new(source).unwrap().render(row).as_deref(), Ok(text), "{source}"))
        };
        assert_eq!(of_expression("a == 'x' and b.c[1] == 2", true), "a,and,b");
        assert_eq!(of_expression("b['c'][1:] | length > 2 or a is undefined", false), "a,b,is,length,or,undefined");
        assert_eq!(of_expression("1 == 1", true), "");
        let all = "a,b,a name,unread";
        assert_eq!(of_expression("column('a name') == 7", true), all);
        assert_eq!(of_template("{{a[:1]}} unread {{b.c | sum}}", "x unread 3"), "a,b,sum");
        assert_eq!(of_template("{{column('a' ~ ' name')}}", "7"), all);
        assert_eq!(of_template("{% if 0 %}{% set a = 1 %}{% endif %}{{a}}", "x"), "a,endif,if,set");
        assert_eq!(of_template("{% for one in b.c %}{{one}}{% endfor %}", "12"), "b,endfor,for,in,one");
    }

    #[test]
    fn mistakes_are_told() {
        let row = row(json!({"a": 1}));
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
