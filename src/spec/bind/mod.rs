//! One node's settings at one point of the sweep: substituted, typed and checked.
//!
//! Parameters are filled in here; `read` makes typed settings of what that gives, and `told` puts what is wrong into a user's
//! words, at its place.

mod read;
mod told;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use self::read::{misspells, read};
use self::told::unknown_parameter;
use super::diagnostic::Diagnostic;
use super::env::{self, Environment};
use super::execution::{self, Execution};
use super::params::{Kind, Op};
use super::path::FieldPath;
use super::pipeline::{NodeSpec, Pipeline};
use super::substitute::{Bindings, Found, Names, substitute};
use super::{Place, schema, tasks};

/// A node's settings with its parameters filled in.
#[derive(Debug)]
pub struct Bound {
    /// The typed settings. With mistakes in `diagnostics`: what could be read without them, if anything could.
    pub op: Option<Op>,
    /// Whether something was left out of `op` because it could not be read.
    pub partial: bool,
    /// The settings as written, parameters filled in.
    pub fields: Value,
    /// How the node is to be run.
    pub execution: Execution,
    /// The parameters that were used.
    pub used: BTreeSet<String>,
    /// The variables of the environment that were used.
    pub variables: Vec<Used>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// A variable of the environment in a node's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// Reads the settings of `node` with the parameters of one sweep point.
pub fn bind(pipeline: &Pipeline, node: &NodeSpec, bindings: &Bindings) -> Bound {
    let mut found = Found::default();
    let (execution, mut diagnostics) = run_how(pipeline, node, bindings, &mut found);
    let place = |at: &FieldPath| Place::new(node.file, pipeline.document(node).value_span(&node.path().join(at)));
    let used = |(name, _, at): &(String, String, FieldPath)| Used { name: name.clone(), place: place(at) };
    let mut variables: Vec<Used> = found.variables.drain(..).map(|variable| used(&variable)).collect();
    let fields = fill(pipeline, node, bindings, &pipeline.environment, &mut found);
    variables.extend(found.variables.iter().map(used));
    let unresolved = std::mem::take(&mut found.unresolved);
    diagnostics.extend(unresolved.iter().filter_map(|one| unknown_parameter(pipeline, node, one, bindings)));
    let mut left = Cow::Borrowed(&fields);
    let mut removed: Vec<FieldPath> = Vec::new();
    for place in unresolved {
        place.at.remove_from(left.to_mut());
        removed.push(place.at);
    }
    for field in schema::required_fields(node.kind) {
        if fields.get(field).is_none() {
            removed.push(FieldPath::root().key(field));
            if schema::unknown_fields(node.kind, &fields).any(|name| misspells(name, field)) {
                continue;
            }
            let span = pipeline.node_span(node);
            let message = format!("`{}` needs the field `{field}`", node.local_name());
            diagnostics.push(Diagnostic::new(span, message).label(format!("this {} node", node.kind.name())));
        }
    }
    let op = read(pipeline, node, &left, &mut removed, &mut diagnostics);
    drop(left);
    if let Some(op) = &op {
        diagnostics.extend(env::in_key(pipeline, node, bindings, op, &found));
    }
    // What stands in a file of its own (a task) already says so: the first file is never one of these.
    let own = |diagnostic: Diagnostic| if diagnostic.file == 0 { diagnostic.in_file(node.file) } else { diagnostic };
    let diagnostics = diagnostics.into_iter().map(own).collect();
    Bound { op, partial: !removed.is_empty(), fields, execution, used: found.used, variables, diagnostics }
}

/// Fills the parameters into the settings of a node.
pub(super) fn fill(
    pipeline: &Pipeline,
    node: &NodeSpec,
    bindings: &Bindings,
    environment: &Environment,
    found: &mut Found,
) -> Value {
    let is_node = |name: &str| pipeline.node(&node.whole_name(name.split('.').next().unwrap_or(name))).is_some();
    let is_node: Option<&dyn Fn(&str) -> bool> = if node.kind == Kind::Command { Some(&is_node) } else { None };
    let names = Names { bindings, prefix: &node.prefix, given: &pipeline.given, environment, is_node };
    let mut fields = substitute(&node.fields, &names, found);
    match node.kind {
        Kind::Eval => tasks::expand_eval(&mut fields),
        Kind::Source => tasks::expand_source(&mut fields),
        _ => {}
    }
    fields
}

/// Reads how the node is to be run.
fn run_how(
    pipeline: &Pipeline,
    node: &NodeSpec,
    bindings: &Bindings,
    found: &mut Found,
) -> (Execution, Vec<Diagnostic>) {
    let environment = &pipeline.environment;
    let names = Names { bindings, prefix: &node.prefix, given: &pipeline.given, environment, is_node: None };
    let filled = substitute(&node.execution, &names, found);
    let unresolved = std::mem::take(&mut found.unresolved);
    let mut diagnostics: Vec<Diagnostic> =
        unresolved.iter().filter_map(|one| unknown_parameter(pipeline, node, one, bindings)).collect();
    let (execution, wrong) = execution::read(&filled);
    for wrong in wrong.iter().filter(|wrong| !unresolved.iter().any(|one| one.at.0.starts_with(&wrong.at.0))) {
        let at = node.path().join(&wrong.at);
        let document = pipeline.document(node);
        let span = if wrong.key { document.key_span(&at) } else { document.value_span(&at) };
        diagnostics.push(Diagnostic::new(span, wrong.message.clone()).maybe_help(wrong.help.clone()));
    }
    (execution, diagnostics)
}
