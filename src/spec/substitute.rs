//! `${name}`: parameters inside settings.
//!
//! A text that is nothing but `${name}` becomes the parameter's value, type and all; inside a longer text the value is
//! written out. `$${` stands for a plain `${`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::path::FieldPath;
use super::sweep;

/// The value of every parameter at one point of the sweep.
pub type Bindings = BTreeMap<String, Value>;

/// A `${…}` that cannot be replaced, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The text that holds it.
    pub at: FieldPath,
    /// The name between the braces; nothing when the closing brace is missing.
    pub name: Option<String>,
}

/// What `${…}` can stand for.
pub struct Names<'a> {
    /// The parameters.
    pub bindings: &'a Bindings,
    /// Says whether a name that is no parameter is a node. Where there are such names (the arguments of a program), they
    /// and the `$${` are left as they are, for whoever fills them in.
    pub is_node: Option<&'a dyn Fn(&str) -> bool>,
}

/// Replaces every `${name}` in `value` and notes which names were used.
pub fn substitute(
    value: &Value,
    names: &Names<'_>,
    used: &mut BTreeSet<String>,
    unresolved: &mut Vec<Unresolved>,
) -> Value {
    // Most settings name no parameter, and need no note of where they stand.
    if names_any(value) { walk(value, &FieldPath::root(), names, used, unresolved) } else { value.clone() }
}

fn names_any(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(names_any),
        Value::Object(map) => map.values().any(names_any),
        _ => false,
    }
}

fn walk(
    value: &Value,
    at: &FieldPath,
    names: &Names<'_>,
    used: &mut BTreeSet<String>,
    unresolved: &mut Vec<Unresolved>,
) -> Value {
    match value {
        Value::String(text) if text.contains("${") => replace(text, at, names, used, unresolved),
        plain if !names_any(plain) => plain.clone(),
        Value::Array(items) => {
            let item = |(i, item)| walk(item, &at.index(i), names, used, unresolved);
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        Value::Object(map) => {
            let entry =
                |(key, value): (&String, &Value)| (key.clone(), walk(value, &at.key(key), names, used, unresolved));
            Value::Object(map.iter().map(entry).collect())
        }
        other => other.clone(),
    }
}

fn replace(
    text: &str,
    at: &FieldPath,
    names: &Names<'_>,
    used: &mut BTreeSet<String>,
    unresolved: &mut Vec<Unresolved>,
) -> Value {
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
            unresolved.push(Unresolved { at: at.clone(), name: None });
            return Value::String(text.to_owned());
        };
        let name = after[..end].trim();
        rest = &after[end + 1..];
        if !names.bindings.contains_key(name) && names.is_node.is_some_and(|is_node| is_node(name)) {
            out.extend(["${", name, "}"]);
            continue;
        }
        used.insert(name.to_owned());
        match names.bindings.get(name) {
            Some(value) if out.is_empty() && rest.is_empty() && before.is_empty() => return value.clone(),
            Some(value) => out.push_str(&sweep::show(value)),
            None => unresolved.push(Unresolved { at: at.clone(), name: Some(name.to_owned()) }),
        }
    }
    out.push_str(rest);
    Value::String(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(value: &Value) -> (Value, Vec<String>, usize) {
        let bindings = Bindings::from([("t".to_owned(), json!(0.5)), ("tags".to_owned(), json!(["a", "b"]))]);
        let (mut used, mut unresolved) = (BTreeSet::new(), Vec::new());
        let names = Names { bindings: &bindings, is_node: None };
        let value = substitute(value, &names, &mut used, &mut unresolved);
        (value, used.into_iter().collect(), unresolved.len())
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
}
