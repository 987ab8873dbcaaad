//! Whether models can be merged at all: the same tensors, of the same shapes.
//!
//! MergeKit stops at the first tensor that does not fit, or cuts the larger of two. Here nothing is cut, and one error
//! lists all that differs, because the list is what shows why (another vocabulary, another number of layers).

use std::collections::BTreeSet;

use super::{OpError, Parent};

/// The most differences that are listed; the rest is counted.
const LISTED: usize = 20;

/// The output layer, which models whose embedding is tied to it don't store.
const OUTPUT_LAYER: &str = "lm_head.weight";

/// Returns an error that names every tensor that one of the models lacks or has in another shape.
pub(super) fn check(parents: &[Parent<'_>]) -> Result<(), OpError> {
    let names: BTreeSet<&str> = parents.iter().flat_map(|parent| parent.tensors.names()).collect();
    if names.is_empty() {
        return Err(OpError::new(format!("`{}` holds no tensors", parents[0].name)));
    }
    let differences: Vec<(&str, String)> =
        names.into_iter().filter_map(|name| difference(name, parents).map(|what| (name, what))).collect();
    let [(first, what), rest @ ..] = &differences[..] else { return Ok(()) };
    if *first == OUTPUT_LAYER && rest.is_empty() {
        return Err(output_layer(parents, what));
    }
    let head = format!("the models cannot be merged, {} of their tensors differ:", differences.len());
    let listed = differences.iter().take(LISTED).map(|(name, what)| format!("{name}: {what}"));
    let more = differences.len().checked_sub(LISTED + 1).map(|more| format!("and {} more", more + 1));
    let lines: Vec<String> = std::iter::once(head).chain(listed).chain(more).collect();
    Err(OpError::new(lines.join("\n  ")).help("merge models that were trained from the same one"))
}

/// Returns how the models differ in a tensor: `base [96, 32], french [97, 32]`.
fn difference(name: &str, parents: &[Parent<'_>]) -> Option<String> {
    let shapes: Vec<Option<&[usize]>> =
        parents.iter().map(|parent| parent.tensors.get(name).map(|view| view.shape)).collect();
    if shapes.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let each = parents.iter().zip(shapes).map(|(parent, shape)| match shape {
        Some(shape) => format!("{} {shape:?}", parent.name),
        None => format!("{} lacks it", parent.name),
    });
    Some(each.collect::<Vec<_>>().join(", "))
}

fn output_layer(parents: &[Parent<'_>], what: &str) -> OpError {
    let stores = |parent: &&Parent<'_>| parent.tensors.get(OUTPUT_LAYER).is_some();
    if parents.iter().all(|parent| stores(&parent)) {
        return OpError::new(format!(
            "the models cannot be merged, their output layers differ: {OUTPUT_LAYER}: {what}"
        ))
        .help("merge models of the same vocabulary");
    }
    let join = |which: bool| {
        let of = parents.iter().filter(|parent| stores(parent) == which);
        of.map(|parent| format!("`{}`", parent.name)).collect::<Vec<_>>().join(", ")
    };
    let message = format!(
        "the models cannot be merged: {} stores an output layer of its own (`{OUTPUT_LAYER}`), {} shares the embedding's",
        join(true),
        join(false)
    );
    OpError::new(message).help("save all of them with the same `tie_word_embeddings`")
}
