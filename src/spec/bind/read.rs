//! Settings as typed values, with all that is wrong with them.
//!
//! serde stops at the first mistake of a struct. To find them all, the offending value is taken out and the rest is read
//! again, until what is left reads; what has been taken out is then not missed a second time.

use std::borrow::Cow;

use serde_json::Value;

use super::told::{checked, in_task, missing, quoted_after, wrong};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::params::{Mistake, Op};
use crate::spec::path::{FieldPath, Segment};
use crate::spec::pipeline::{NodeSpec, Pipeline};
use crate::spec::suggest;

/// The most mistakes that are looked for in one node.
const MAX_MISTAKES: usize = 50;

/// Reads what can be read, takes out what cannot, and notes why.
pub(super) fn read(
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
pub(super) fn misspells(name: &str, field: &str) -> bool {
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
pub(super) fn as_written(at: &FieldPath, removed: &[FieldPath]) -> FieldPath {
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
