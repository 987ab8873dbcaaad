//! One node's settings at one point of the sweep: substituted, typed and checked.
//!
//! serde stops at the first mistake of a struct. To find them all, the offending value is taken out and the rest is read
//! again, until what is left reads; what has been taken out is then not missed a second time.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::env::{self, Environment};
use super::execution::{self, Execution};
use super::params::{Kind, Mistake, Op};
use super::path::{FieldPath, Segment};
use super::pipeline::{NodeSpec, Pipeline};
use super::substitute::{Bindings, Found, Names, Unresolved, Why, substitute};
use super::{Place, schema, suggest, tasks};

/// The most mistakes that are looked for in one node.
const MAX_MISTAKES: usize = 50;

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

/// Reads what can be read, takes out what cannot, and notes why.
fn read(
    pipeline: &Pipeline,
    node: &NodeSpec,
    left: &Value,
    removed: &mut Vec<FieldPath>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Op> {
    let mut left = Cow::Borrowed(left);
    for _ in 0..MAX_MISTAKES {
        let error = match Op::from_fields(node.kind, left.as_ref()) {
            Ok(op) => {
                let mut mistakes = op.check();
                mistakes.extend(pipeline.further.iter().flat_map(|further| further(&op)));
                let own = mistakes.iter().filter(|mistake| !follows(mistake, removed));
                diagnostics.extend(own.map(|mistake| {
                    let of_task = in_task(pipeline, node, mistake, (left.as_ref(), removed));
                    of_task.unwrap_or_else(|| checked(pipeline, node, mistake, removed))
                }));
                return Some(op);
            }
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        // Items taken out before have moved the later ones up: `at` counts what is left, `place` what was written.
        let mut at = FieldPath::parse(&error.path().to_string().replace('?', ""));
        if let Some(field) = quoted_after(message, "missing field ") {
            let place = as_written(&at, removed);
            let misspelt = removed.iter().any(|path| {
                path.parent().as_ref() == Some(&place) && path.last_key().is_some_and(|name| misspells(name, field))
            });
            if !misspelt && !removed.contains(&place.key(field)) {
                diagnostics.push(missing(pipeline, node, &place, field));
            }
        } else {
            if let Some(field) = quoted_after(message, "unknown field ")
                && at.last_key() != Some(field)
            {
                at = at.key(field);
            }
            diagnostics.push(wrong(pipeline, node, &as_written(&at, removed), message));
        }
        if !take_out(&at, left.to_mut(), removed) {
            return None;
        }
    }
    None
}

/// Says whether an unknown field is a known one misspelt, so that the known one is not missed as well.
fn misspells(name: &str, field: &str) -> bool {
    suggest::nearest(name, [field]).is_some()
}

/// Takes the value at `at` out of what is left, with the list item around it if that held nothing else.
fn take_out(at: &FieldPath, left: &mut Value, removed: &mut Vec<FieldPath>) -> bool {
    let place = as_written(at, removed);
    if !at.remove_from(left) {
        return false;
    }
    removed.push(place);
    if let Some(parent) = at.parent()
        && matches!(parent.0.last(), Some(Segment::Index(_)))
        && parent.value_in(left).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        return take_out(&parent, left, removed);
    }
    true
}

/// Returns where the value at `at` stood before the values at `removed` were taken out.
fn as_written(at: &FieldPath, removed: &[FieldPath]) -> FieldPath {
    let mut place = FieldPath::root();
    for segment in &at.0 {
        match segment {
            Segment::Key(key) => place = place.key(key),
            Segment::Index(index) => {
                let mut gone: Vec<usize> = removed
                    .iter()
                    .filter(|path| path.parent().as_ref() == Some(&place))
                    .filter_map(|path| if let Some(Segment::Index(gone)) = path.0.last() { Some(*gone) } else { None })
                    .collect();
                gone.sort_unstable();
                let index = gone.into_iter().fold(*index, |index, gone| if gone <= index { index + 1 } else { index });
                place = place.index(index);
            }
        }
    }
    place
}

/// Says whether a mistake may only be there because something below its field was taken out.
fn follows(mistake: &Mistake, removed: &[FieldPath]) -> bool {
    let field = as_written(&FieldPath::parse(&mistake.field), removed);
    removed.iter().any(|path| path.0.starts_with(&field.0))
}

/// serde names the first field that is missing. The settings say which others are, since all of it is taken out at once.
fn missing(pipeline: &Pipeline, node: &NodeSpec, at: &FieldPath, field: &str) -> Diagnostic {
    let place = if at.0.is_empty() { node.local_name().to_owned() } else { at.to_string() };
    let at_node = if at.0.is_empty() { node.path() } else { node.path().join(at) };
    let span = pipeline.document(node).key_span(&at_node);
    let written = at.value_in(&node.fields);
    let mut fields = schema::required_at(node.kind, at);
    fields.retain(|field| written.is_none_or(|written| written.get(field).is_none()));
    if fields.len() < 2 {
        return Diagnostic::new(span, format!("`{place}` needs the field `{field}`"));
    }
    Diagnostic::new(span, format!("`{place}` needs the fields `{}`", fields.join("`, `")))
}

fn wrong(pipeline: &Pipeline, node: &NodeSpec, at: &FieldPath, message: &str) -> Diagnostic {
    let full = node.path().join(at);
    for what in ["field", "variant"] {
        let Some(name) = quoted_after(message, &format!("unknown {what} ")) else { continue };
        let mut known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        if what == "field" && at.0.len() <= 1 {
            known.extend(execution::FIELDS);
        }
        let help = suggest::help(name, known.iter().copied());
        let (span, message) = if what == "field" {
            (pipeline.document(node).key_span(&full), format!("unknown field `{name}` in `{}`", node.local_name()))
        } else {
            let (span, field) = unknown_word(pipeline.document(node), &full, name);
            return Diagnostic::new(span, format!("`{field}` cannot be `{name}`")).maybe_help(help);
        };
        let label = if what == "field" && at.0.len() <= 1 {
            format!("not a setting of `{}`", node.kind.name())
        } else {
            "not known here".to_owned()
        };
        return Diagnostic::new(span, message).label(label).maybe_help(help);
    }
    let at = if at.0.is_empty() { node.local_name().to_owned() } else { at.to_string() };
    Diagnostic::new(pipeline.document(node).value_span(&full), format!("`{at}`: {}", plain(message)))
}

/// Returns the place of a word that is none of those allowed, and the field that it stands in: of a value (`rows: lines`)
/// or of the key of a list's item (`steps: [normalise: {}]`).
fn unknown_word(document: &Document, full: &FieldPath, name: &str) -> (std::ops::Range<usize>, String) {
    let field = full.0.iter().rev().find_map(|segment| match segment {
        Segment::Key(key) if key != name => Some(key.clone()),
        _ => None,
    });
    let key = if full.last_key() == Some(name) { full.clone() } else { full.key(name) };
    let span = document.exact_key_span(&key).unwrap_or_else(|| document.value_span(full));
    (span, field.unwrap_or_default())
}

/// Returns a mistake in the definition of a task at its place there: in the task's own file, or in the pipeline.
fn in_task(
    pipeline: &Pipeline,
    node: &NodeSpec,
    mistake: &Mistake,
    (left, removed): (&Value, &[FieldPath]),
) -> Option<Diagnostic> {
    if node.kind != Kind::Eval {
        return None;
    }
    let (define, inside) = tasks::written(&FieldPath::parse(&mistake.field), left)?;
    let define = as_written(&define, removed);
    let of_file = |(i, file): &(usize, usize)| (define.0.get(1) == Some(&Segment::Index(*i))).then_some(*file);
    let place = match node.task_files.iter().find_map(of_file) {
        Some(file) => Place::new(file, pipeline.documents[file].value_span(&inside)),
        None => Place::new(node.file, pipeline.document(node).value_span(&node.path().join(&define).join(&inside))),
    };
    Some(Diagnostic::new(place, mistake.message.clone()).maybe_help(mistake.help.clone()))
}

fn checked(pipeline: &Pipeline, node: &NodeSpec, mistake: &Mistake, removed: &[FieldPath]) -> Diagnostic {
    let (span, field) = if mistake.field.is_empty() {
        (pipeline.node_span(node), node.local_name().to_owned())
    } else {
        let field = as_written(&FieldPath::parse(&mistake.field), removed).to_string();
        (pipeline.field_span(node, &field), field)
    };
    Diagnostic::new(span, format!("`{field}`: {}", mistake.message)).maybe_help(mistake.help.clone())
}

/// Returns the mistake of a `${…}`; none where the parameter itself is one.
fn unknown_parameter(
    pipeline: &Pipeline,
    node: &NodeSpec,
    place: &Unresolved,
    bindings: &Bindings,
) -> Option<Diagnostic> {
    let span = pipeline.document(node).value_span(&node.path().join(&place.at));
    Some(match &place.why {
        Why::Parameter(name) if pipeline.unreadable_params.contains(&node.whole_name(name)) => return None,
        Why::Open => Diagnostic::new(span, "`${` has no closing brace").help("write `$${` for a plain `${`"),
        Why::Variable(name) => env::unset(span, name),
        Why::Parameter(name) => {
            let own = bindings.keys().filter_map(|known| known.strip_prefix(&node.prefix));
            Diagnostic::new(span, format!("unknown parameter `{name}`"))
                .maybe_help(suggest::help(name, own))
                .label("not in `params` or `sweep`")
        }
    })
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.split('`').nth(1)
}

/// Turns serde's words into a user's: `invalid type: string "fast", expected f64`.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "f64" => "a number",
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a string" => "a text",
        text if text.starts_with("struct ") || text == "a map" => "a block of settings",
        text if text.starts_with("tuple struct InputRef") => "the name of a node",
        other => other,
    };
    let found = found
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ")
        .replace("string ", "the text ")
        .replace("floating point ", "the number ")
        .replace("integer ", "the number ")
        .replace("boolean ", "")
        .replace("sequence", "a list")
        .replace("map", "a block of settings")
        .replace("null", "nothing");
    format!("expected {expected}, found {found}")
}
