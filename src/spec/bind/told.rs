//! What is wrong with settings, in a user's words and at the place where it was written.

use serde_json::Value;

use super::read::as_written;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::document::Document;
use crate::spec::params::{Kind, Mistake};
use crate::spec::path::{FieldPath, Segment};
use crate::spec::pipeline::{NodeSpec, Pipeline};
use crate::spec::substitute::{Bindings, Unresolved, Why};
use crate::spec::{Place, env, execution, schema, suggest, tasks};

/// serde names the first field that is missing. The settings say which others are, since all of it is taken out at once.
pub(super) fn missing(pipeline: &Pipeline, node: &NodeSpec, at: &FieldPath, field: &str) -> Diagnostic {
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

pub(super) fn wrong(pipeline: &Pipeline, node: &NodeSpec, at: &FieldPath, message: &str) -> Diagnostic {
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
pub(super) fn in_task(
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

pub(super) fn checked(pipeline: &Pipeline, node: &NodeSpec, mistake: &Mistake, removed: &[FieldPath]) -> Diagnostic {
    let (span, field) = if mistake.field.is_empty() {
        (pipeline.node_span(node), node.local_name().to_owned())
    } else {
        let field = as_written(&FieldPath::parse(&mistake.field), removed).to_string();
        (pipeline.field_span(node, &field), field)
    };
    Diagnostic::new(span, format!("`{field}`: {}", mistake.message)).maybe_help(mistake.help.clone())
}

/// Returns the mistake of a `${…}`; none where the parameter itself is one.
pub(super) fn unknown_parameter(
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

pub(super) fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
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
