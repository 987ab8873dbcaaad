//! One node's settings at one point of the sweep: substituted, typed and checked.
//!
//! serde stops at the first mistake of a struct. To find them all, the offending value is taken out and the rest is read
//! again, until what is left reads; what has been taken out is then not missed a second time.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::params::{Kind, Mistake, Op};
use super::path::{FieldPath, Segment};
use super::pipeline::{NodeSpec, Pipeline};
use super::substitute::{Bindings, Names, Unresolved, substitute};
use super::{schema, suggest};

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
    /// The parameters that were used.
    pub used: BTreeSet<String>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the settings of `node` with the parameters of one sweep point.
pub fn bind(pipeline: &Pipeline, node: &NodeSpec, bindings: &Bindings) -> Bound {
    let (mut used, mut unresolved) = (BTreeSet::new(), Vec::new());
    let is_node = |name: &str| pipeline.node(name.split('.').next().unwrap_or(name)).is_some();
    let is_node: Option<&dyn Fn(&str) -> bool> = if node.kind == Kind::Command { Some(&is_node) } else { None };
    let names = Names { bindings, is_node };
    let fields = substitute(&node.fields, &names, &mut used, &mut unresolved);
    let mut diagnostics: Vec<Diagnostic> =
        unresolved.iter().filter_map(|unresolved| unknown_parameter(pipeline, node, unresolved, bindings)).collect();
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
            let message = format!("`{}` needs the field `{field}`", node.name);
            diagnostics.push(Diagnostic::new(span, message).label(format!("this {} node", node.kind.name())));
        }
    }
    let op = read(pipeline, node, &left, &mut removed, &mut diagnostics);
    drop(left);
    Bound { op, partial: !removed.is_empty(), fields, used, diagnostics }
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
                let mistakes = op.check();
                let own = mistakes.iter().filter(|mistake| !follows(mistake, removed));
                diagnostics.extend(own.map(|mistake| checked(pipeline, node, mistake, removed)));
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
    let place = if at.0.is_empty() { node.name.clone() } else { at.to_string() };
    let span =
        if at.0.is_empty() { pipeline.node_span(node) } else { pipeline.document.key_span(&node.path().join(at)) };
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
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let help = suggest::help(name, known.iter().copied());
        let (span, message) = if what == "field" {
            (pipeline.document.key_span(&full), format!("unknown field `{name}` in `{}`", node.name))
        } else {
            let (span, field) = unknown_word(pipeline, &full, name);
            return Diagnostic::new(span, format!("`{field}` cannot be `{name}`")).maybe_help(help);
        };
        let label = if what == "field" && at.0.len() <= 1 {
            format!("not a setting of `{}`", node.kind.name())
        } else {
            "not known here".to_owned()
        };
        return Diagnostic::new(span, message).label(label).maybe_help(help);
    }
    let at = if at.0.is_empty() { node.name.clone() } else { at.to_string() };
    Diagnostic::new(pipeline.document.value_span(&full), format!("`{at}`: {}", plain(message)))
}

/// Returns the place of a word that is none of those allowed, and the field that it stands in: of a value (`rows: lines`)
/// or of the key of a list's item (`steps: [normalise: {}]`).
fn unknown_word(pipeline: &Pipeline, full: &FieldPath, name: &str) -> (std::ops::Range<usize>, String) {
    let field = full.0.iter().rev().find_map(|segment| match segment {
        Segment::Key(key) if key != name => Some(key.clone()),
        _ => None,
    });
    let key = if full.last_key() == Some(name) { full.clone() } else { full.key(name) };
    let span = pipeline.document.exact_key_span(&key).unwrap_or_else(|| pipeline.document.value_span(full));
    (span, field.unwrap_or_default())
}

fn checked(pipeline: &Pipeline, node: &NodeSpec, mistake: &Mistake, removed: &[FieldPath]) -> Diagnostic {
    let (span, field) = if mistake.field.is_empty() {
        (pipeline.node_span(node), node.name.clone())
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
    let span = pipeline.document.value_span(&node.path().join(&place.at));
    Some(match &place.name {
        Some(name) if pipeline.unreadable_params.contains(name) => return None,
        None => Diagnostic::new(span, "`${` has no closing brace").help("write `$${` for a plain `${`"),
        Some(name) => Diagnostic::new(span, format!("unknown parameter `{name}`"))
            .maybe_help(suggest::help(name, bindings.keys().map(String::as_str)))
            .label("not in `params` or `sweep`"),
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
