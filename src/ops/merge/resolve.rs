//! Finds the tensors that each tensor of the result is made from, or says what is missing or does not fit.
//!
//! A tensor that a model may do without is merged from those that have it, as far as the method can: MergeKit's rules.
//! All else that is missing is an error, and one error lists everything, because that list is what shows why.

use super::names::{EMBEDDINGS, is_optional, model_type};
use super::plan::{OUTPUT_LAYER, Planned};
use super::recipe::{Group, Recipe};
use super::vocabulary::is_vocabulary;
use super::{OpError, Parent};
use crate::spec::params::{BaseUse, MergeMethod as M};

/// The most differences that are listed; the rest is counted.
const LISTED: usize = 20;

/// Finds every input. A tensor that the method cannot make, and need not, is left out.
pub(super) fn resolve(
    recipe: &Recipe<'_>,
    groups: &[Group<'_>],
    tensors: Vec<Planned>,
) -> Result<Vec<Planned>, OpError> {
    let aligned = recipe.config.vocabulary().is_some();
    let (mut found, mut differences) = (Vec::new(), Vec::new());
    for mut tensor in tensors {
        let group = &groups[tensor.group];
        for (i, input) in &mut tensor.inputs {
            let model = &recipe.models[group.sources[*i].model];
            if input == OUTPUT_LAYER && model.get(input).is_none() {
                let shared = EMBEDDINGS.iter().find_map(|end| model.names().find(|name| name.ends_with(end)));
                if let Some(embedding) = shared {
                    embedding.clone_into(input);
                }
            }
        }
        let models: Vec<&Parent<'_>> =
            tensor.inputs.iter().map(|(i, _)| &recipe.models[group.sources[*i].model]).collect();
        let optional = models.iter().all(|model| {
            let same = model_type(model.config.as_ref()) == model_type(models[0].config.as_ref());
            same && model_type(model.config.as_ref()).is_some_and(|of| is_optional(of, &tensor.name))
        });
        let lacking = tensor.inputs.iter().zip(&models).any(|((_, input), model)| model.get(input).is_none());
        if optional && lacking {
            match without(recipe, group, &mut tensor) {
                Without::Merge if fits(recipe, group, &tensor, 0) => found.push(tensor),
                Without::Skip => {}
                Without::Merge | Without::Never => differences.push(difference(recipe, group, &tensor)),
            }
            continue;
        }
        let skip = usize::from(aligned && is_vocabulary(&tensor.name));
        if fits(recipe, group, &tensor, skip) {
            found.push(tensor);
        } else {
            differences.push(difference(recipe, group, &tensor));
        }
    }
    if differences.is_empty() { Ok(found) } else { Err(explain(recipe, groups, &differences)) }
}

/// What becomes of a tensor that some of the models lack.
enum Without {
    /// It is merged from the others.
    Merge,
    /// The result does without it.
    Skip,
    /// The method needs all of them.
    Never,
}

/// Reduces the inputs of a tensor to those that are there.
fn without(recipe: &Recipe<'_>, group: &Group<'_>, tensor: &mut Planned) -> Without {
    let there = |(i, input): &(usize, String)| recipe.models[group.sources[*i].model].get(input).is_some();
    let present: Vec<(usize, String)> = tensor.inputs.iter().filter(|input| there(input)).cloned().collect();
    let has_base = present.iter().any(|(i, _)| Some(*i) == group.base);
    let single = present.len() == 1;
    let method = recipe.config.merge_method;
    let takes = method.takes();
    let enough = present.len() - usize::from(has_base && !takes.with_base) >= takes.least;
    let known_base = has_base || group.base.is_none() || takes.base == BaseUse::Ignored;
    let (copied, decided) = match method {
        M::Slerp | M::Nuslerp | M::ArceeFusion if single => (true, Without::Merge),
        M::Nearswap if single && has_base => (true, Without::Merge),
        M::ModelStock if !enough => {
            (single && has_base, if single && has_base { Without::Merge } else { Without::Skip })
        }
        _ if enough && known_base => (false, Without::Merge),
        _ => (false, Without::Never),
    };
    if matches!(decided, Without::Merge) {
        tensor.inputs = present;
        tensor.copied = copied;
    }
    decided
}

/// Returns whether all inputs are there and of one shape, from the axis `skip` on.
fn fits(recipe: &Recipe<'_>, group: &Group<'_>, tensor: &Planned, skip: usize) -> bool {
    let shape = |(i, input): &(usize, String)| Some(recipe.models[group.sources[*i].model].get(input)?.shape);
    let shapes: Vec<Option<&[usize]>> = tensor.inputs.iter().map(shape).collect();
    shapes.iter().all(|shape| shape.is_some_and(|shape| shape.len() >= skip))
        && shapes.windows(2).all(|pair| pair[0].map(|s| &s[skip..]) == pair[1].map(|s| &s[skip..]))
}

fn difference(recipe: &Recipe<'_>, group: &Group<'_>, tensor: &Planned) -> (String, String) {
    let each = tensor.inputs.iter().map(|(i, input)| {
        let model = &recipe.models[group.sources[*i].model];
        match model.get(input) {
            Some(view) => format!("{} {:?}", model.name, view.shape),
            None => format!("{} lacks it", model.name),
        }
    });
    (tensor.name.clone(), each.collect::<Vec<_>>().join(", "))
}

fn explain(recipe: &Recipe<'_>, groups: &[Group<'_>], differences: &[(String, String)]) -> OpError {
    if let [(only, what)] = differences
        && only == OUTPUT_LAYER
    {
        return output_layer(recipe, groups, what);
    }
    let head = format!("the models cannot be merged, {} of their tensors differ:", differences.len());
    let listed = differences.iter().take(LISTED).map(|(name, what)| format!("{name}: {what}"));
    let more = differences.len().checked_sub(LISTED + 1).map(|more| format!("and {} more", more + 1));
    let lines: Vec<String> = std::iter::once(head).chain(listed).chain(more).collect();
    let vocabulary = differences.iter().all(|(name, _)| is_vocabulary(name));
    let help = if vocabulary && recipe.config.models.is_some() && !recipe.as_first {
        "their vocabularies differ: `tokenizer_source: base` or `union` aligns them"
    } else {
        "merge models that were trained from the same one"
    };
    OpError::new(lines.join("\n  ")).help(help)
}

fn output_layer(recipe: &Recipe<'_>, groups: &[Group<'_>], what: &str) -> OpError {
    let last = &groups[groups.len() - 1];
    let models: Vec<&Parent<'_>> = last.sources.iter().map(|source| &recipe.models[source.model]).collect();
    let stores = |model: &&&Parent<'_>| model.get(OUTPUT_LAYER).is_some();
    if models.iter().all(|model| stores(&model)) {
        return OpError::new(format!(
            "the models cannot be merged, their output layers differ: {OUTPUT_LAYER}: {what}"
        ))
        .help("merge models of the same vocabulary");
    }
    let join = |which: bool| {
        let of = models.iter().filter(|model| stores(model) == which);
        of.map(|model| format!("`{}`", model.name)).collect::<Vec<_>>().join(", ")
    };
    let message = format!(
        "the models cannot be merged: {} stores an output layer of its own (`{OUTPUT_LAYER}`), {} shares the embedding's",
        join(true),
        join(false)
    );
    OpError::new(message).help("save all of them with the same `tie_word_embeddings`")
}
