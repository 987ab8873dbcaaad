//! `${env:NAME}`: variables of the environment inside settings, only where they are named.
//!
//! What a key is made of must stand in the pipeline, or two people get two results and nobody sees why. So a variable may
//! enter a key only if the top-level list `env:` names it; elsewhere (the path of a source, `needs`) it is free. Whether
//! it enters is not guessed from the field: the settings are read again with another value, and compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::bind::fill;
use super::diagnostic::{Diagnostic, Place};
use super::params::Op;
use super::pipeline::{NodeSpec, Pipeline};
use super::substitute::{Bindings, Found};
use super::sweep;

/// The variables that `${env:…}` may stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// All that are set, with their values. Handed in: nothing here reads the environment.
    pub values: BTreeMap<String, String>,
    /// Those that may enter a key.
    pub declared: BTreeSet<String>,
}

/// What stands in the braces of `${env:NAME}` or `${env:NAME:-default}`, without `env:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    default: Option<&'a str>,
}

impl<'a> Variable<'a> {
    /// Reads what stands between the braces; nothing if that is no variable.
    pub(super) fn read(inner: &'a str) -> Option<Self> {
        let inner = inner.strip_prefix("env:")?;
        Some(match inner.split_once(":-") {
            Some((name, default)) => Self { name: name.trim(), default: Some(default) },
            None => Self { name: inner.trim(), default: None },
        })
    }
}

impl Environment {
    /// Returns what a variable stands for. As in a shell, the default also stands in for one that is empty.
    pub(super) fn value<'a>(&'a self, variable: Variable<'a>) -> Option<&'a str> {
        let own = self.values.get(variable.name).map(String::as_str);
        match variable.default {
            Some(default) => own.filter(|value| !value.is_empty()).or(Some(default)),
            None => own,
        }
    }

    /// Returns an environment in which one variable has another value, of the same type as far as possible: a value that
    /// could not be read in its place would show nothing.
    pub(super) fn changed(&self, name: &str, now: &str) -> Self {
        let other = match sweep::scalar(now) {
            Value::Number(number) if number.is_i64() => (number.as_i64().unwrap_or(0).wrapping_add(1)).to_string(),
            Value::Number(number) => (number.as_f64().unwrap_or(0.0) / 2.0 + 0.25).to_string(),
            Value::Bool(value) => (!value).to_string(),
            _ => format!("{now}-changed"),
        };
        let mut changed = self.clone();
        changed.values.insert(name.to_owned(), other);
        changed
    }
}

/// Returns the mistakes of variables that enter the key and are not declared: with another value, the settings differ.
pub(super) fn in_key(
    pipeline: &Pipeline,
    node: &NodeSpec,
    bindings: &Bindings,
    op: &Op,
    found: &Found,
) -> Vec<Diagnostic> {
    let inputs =
        |op: &Op| op.inputs().iter().map(|input| (input.slot.clone(), input.from.0.clone())).collect::<Vec<_>>();
    let mut diagnostics = Vec::new();
    for (name, value, at) in &found.variables {
        if pipeline.environment.declared.contains(name) {
            continue;
        }
        let changed = pipeline.environment.changed(name, value);
        let fields = fill(pipeline, node, bindings, &changed, &mut Found::default());
        let same = Op::from_fields(node.kind, &fields)
            .is_ok_and(|other| other.config() == op.config() && inputs(&other) == inputs(op));
        if !same {
            let span = pipeline.document(node).value_span(&node.path().join(at));
            let message = format!("`${{env:{name}}}` would enter the key of `{}`", node.local_name());
            let help = format!("if results may depend on it, declare it at the top: `env: [{name}]`");
            diagnostics.push(Diagnostic::new(span, message).help(help));
        }
    }
    diagnostics
}

/// Returns the mistake of a variable that is not set.
pub(super) fn unset(place: impl Into<Place>, name: &str) -> Diagnostic {
    Diagnostic::new(place, format!("the environment has no variable `{name}`"))
        .help(format!("set it, or give a default: `${{env:{name}:-default}}`"))
}
