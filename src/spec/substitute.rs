//! `${name}`: parameters inside settings.
//!
//! A text that is nothing but `${name}` becomes the parameter's value, type and all; inside a longer text the value is
//! written out. `$${` stands for a plain `${`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::env::{Environment, Variable};
use super::path::FieldPath;
use super::pipeline::Scope;
use super::sweep;

/// The value of every parameter at one point of the sweep.
pub type Bindings = BTreeMap<String, Value>;

/// A `${…}` that cannot be replaced, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The text that holds it.
    pub at: FieldPath,
    /// What is wrong with it.
    pub why: Why,
}

/// Why a `${…}` cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The closing brace is missing.
    Open,
    /// There is no such parameter.
    Parameter(String),
    /// The variable of the environment is not set, and there is no default.
    Variable(String),
}

/// What `${…}` can stand for.
pub struct Names<'a> {
    /// The parameters, by their whole names.
    pub bindings: &'a Bindings,
    /// What stands before a name to make it whole.
    pub prefix: &'a str,
    /// The parameters whose own value holds a `${…}`.
    pub given: &'a BTreeMap<String, Scope>,
    /// The variables of the environment.
    pub environment: &'a Environment,
    /// Says whether a name that is no parameter is a node. Where there are such names (the arguments of a program), they
    /// and the `$${` are left as they are, for whoever fills them in.
    pub is_node: Option<&'a dyn Fn(&str) -> bool>,
}

/// What was found on the way.
#[derive(Debug, Default)]
pub struct Found {
    /// The parameters that were used, by their whole names.
    pub used: BTreeSet<String>,
    /// The variables of the environment that were used, with what they stand for and where.
    pub variables: Vec<(String, String, FieldPath)>,
    /// What could not be replaced.
    pub unresolved: Vec<Unresolved>,
}

/// Replaces every `${name}` in `value` and notes what was found.
pub fn substitute(value: &Value, names: &Names<'_>, found: &mut Found) -> Value {
    // Most settings name no parameter, and need no note of where they stand.
    if names_any(value) { walk(value, &FieldPath::root(), names, found) } else { value.clone() }
}

fn names_any(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(names_any),
        Value::Object(map) => map.values().any(names_any),
        _ => false,
    }
}

fn walk(value: &Value, at: &FieldPath, names: &Names<'_>, found: &mut Found) -> Value {
    match value {
        Value::String(text) if text.contains("${") => replace(text, at, names, found),
        plain if !names_any(plain) => plain.clone(),
        Value::Array(items) => {
            Value::Array(items.iter().enumerate().map(|(i, item)| walk(item, &at.index(i), names, found)).collect())
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), walk(value, &at.key(key), names, found));
            Value::Object(map.iter().map(entry).collect())
        }
        other => other.clone(),
    }
}

fn replace(text: &str, at: &FieldPath, names: &Names<'_>, found: &mut Found) -> Value {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str(if names.is_node.is_some() { "$${" } else { "${" });
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            found.unresolved.push(Unresolved { at: at.clone(), why: Why::Open });
            return Value::String(text.to_owned());
        };
        let name = after[..end].trim();
        rest = &after[end + 1..];
        let value = match look_up(name, at, names, found) {
            Ok(value) => value,
            Err(why) if matches!(&why, Why::Parameter(_)) && names.is_node.is_some_and(|is_node| is_node(name)) => {
                out.extend(["${", name, "}"]);
                continue;
            }
            Err(why) => {
                found.unresolved.push(Unresolved { at: at.clone(), why });
                continue;
            }
        };
        if out.is_empty() && rest.is_empty() && before.is_empty() {
            return value;
        }
        out.push_str(&sweep::show(&value));
    }
    out.push_str(rest);
    Value::String(out)
}

/// Returns what a name in braces stands for.
fn look_up(name: &str, at: &FieldPath, names: &Names<'_>, found: &mut Found) -> Result<Value, Why> {
    if let Some(variable) = Variable::read(name) {
        let value = names.environment.value(variable).ok_or_else(|| Why::Variable(variable.name.to_owned()))?;
        found.variables.push((variable.name.to_owned(), value.to_owned(), at.clone()));
        return Ok(sweep::scalar(value));
    }
    let whole = format!("{}{name}", names.prefix);
    let Some(value) = names.bindings.get(&whole) else {
        return Err(Why::Parameter(name.to_owned()));
    };
    let value = match names.given.get(&whole) {
        None => value.clone(),
        // Prefixes only grow shorter on the way out, so this ends.
        Some(Scope::Prefix(prefix)) => walk(value, at, &Names { prefix, is_node: None, ..*names }, found),
        Some(Scope::Environment) => {
            let nothing = Bindings::new();
            let keep = |_: &str| true;
            let filled = walk(value, at, &Names { bindings: &nothing, is_node: Some(&keep), ..*names }, found);
            unescaped(filled)
        }
    };
    found.used.insert(whole);
    Ok(value)
}

/// Turns the `$${` that was kept beside names that were kept into what it stands for.
fn unescaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("$${", "${")),
        Value::Array(items) => Value::Array(items.into_iter().map(unescaped).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(value: &Value) -> (Value, Vec<String>, usize) {
        let bindings = Bindings::from([
            ("t".to_owned(), json!(0.5)),
            ("tags".to_owned(), json!(["a", "b"])),
            ("outer".to_owned(), json!("${env:HOST} ${t}")),
            ("in/t".to_owned(), json!("${t}")),
        ]);
        let mut environment = Environment::default();
        environment.values.insert("HOST".into(), "a1".into());
        let given = BTreeMap::from([
            ("outer".to_owned(), Scope::Environment),
            ("in/t".to_owned(), Scope::Prefix(String::new())),
        ]);
        let names = Names { bindings: &bindings, prefix: "", given: &given, environment: &environment, is_node: None };
        let mut found = Found::default();
        let value = substitute(value, &names, &mut found);
        (value, found.used.into_iter().collect(), found.unresolved.len())
    }

    #[test]
    fn a_whole_value_keeps_its_type_and_a_part_becomes_text() {
        let (value, used, unresolved) = apply(&json!({"a": "${t}", "b": "at ${ t }!", "c": ["${tags}"], "d": "$${t}"}));
        assert_eq!(value, json!({"a": 0.5, "b": "at 0.5!", "c": [["a", "b"]], "d": "${t}"}));
        assert_eq!(used, ["t", "tags"]);
        assert_eq!(unresolved, 0);
    }

    #[test]
    fn unknown_names_and_open_braces_are_noted() {
        assert_eq!(apply(&json!("${nope}")).2, 1);
        assert_eq!(apply(&json!("${t")).2, 1);
    }
    #[test]
    fn variables_have_defaults_and_parameters_may_hold_names() {
        let (value, used, unresolved) =
            apply(&json!(["${env:HOST}", "${env:N:-3}", "$${env:HOST}", "${outer}", "${in/t}"]));
        assert_eq!(value, json!(["a1", 3, "${env:HOST}", "a1 ${t}", 0.5]));
        assert_eq!(used, ["in/t", "outer", "t"]);
        assert_eq!(unresolved, 0);
        assert_eq!(apply(&json!("${env:NOPE}")).2, 1);
    }
}
