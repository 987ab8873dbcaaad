//! Which tensors the result has, and which tensors of the models each is made from.
//!
//! MergeKit has a file for every architecture. Here names are matched as they are: a number between dots is the number
//! of a layer, what has none belongs to no layer. Everything is looked up before the first number is read, and one error
//! lists all that is missing or of another shape, because that list is what shows why.

use std::collections::{BTreeMap, BTreeSet};

use super::recipe::{Group, Recipe, Source};
use super::vocabulary::is_vocabulary;
use super::{OpError, Parent};

/// The most differences that are listed; the rest is counted.
const LISTED: usize = 20;

/// The output layer, which models whose embedding is tied to it don't store.
pub(super) const OUTPUT_LAYER: &str = "lm_head.weight";

/// The embedding that takes its place.
const EMBEDDING: &str = "embed_tokens.weight";

/// One tensor of the result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    /// What it is called in the result.
    pub(super) name: String,
    /// The group it is made from.
    pub(super) group: usize,
    /// What it is called in each source of the group; the sources may be fewer than those of the group.
    pub(super) inputs: Vec<String>,
    /// How far through its range of layers it is, from 0 to 1.
    pub(super) t: f64,
}

/// The tensors of the result and the layers they come from.
pub(super) struct Plan {
    /// In the order in which MergeKit visits them: by the name in the first source.
    pub(super) tensors: Vec<Planned>,
    /// For slices: the model and its layer that each layer of the result takes its settings from.
    pub(super) layers: Option<Vec<(usize, usize)>>,
}

/// Splits a name at the number of its layer: `model.layers.`, 3, `.mlp.up_proj.weight`.
pub(super) fn split(name: &str) -> Option<(&str, usize, &str)> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if start > 0 && end < name.len() && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some((&name[..start], part.parse().ok()?, &name[end..]));
        }
        start = end + 1;
    }
    None
}

/// Returns how many layers a model has in each of its stacks.
pub(super) fn stacks(model: &Parent<'_>) -> BTreeMap<String, usize> {
    let mut stacks = BTreeMap::new();
    for (prefix, layer, _) in model.tensors.names().filter_map(split) {
        let count = stacks.entry(prefix.to_owned()).or_insert(0);
        *count = (*count).max(layer + 1);
    }
    stacks
}

/// Plans all tensors of a merge.
pub(super) fn plan(recipe: &Recipe<'_>, groups: &[Group<'_>], sliced: bool) -> Result<Plan, OpError> {
    for source in groups.iter().flat_map(|group| &group.sources) {
        let model = &recipe.models[source.model];
        if model.tensors.names().next().is_none() {
            return Err(OpError::new(format!("`{}` holds no tensors", model.name)));
        }
    }
    let (mut tensors, layers) = if sliced { slices(recipe, groups)? } else { (whole(recipe, &groups[0]), None) };
    tensors.retain(|tensor| !(tensor.name == OUTPUT_LAYER && all_tied(recipe, groups)));
    resolve(recipe, groups, &mut tensors)?;
    tensors.sort_by(|a, b| a.inputs.first().cmp(&b.inputs.first()).then_with(|| a.name.cmp(&b.name)));
    Ok(Plan { tensors, layers })
}

/// Returns whether every model says that its output layer is the embedding: a stored one is a copy then.
fn all_tied(recipe: &Recipe<'_>, groups: &[Group<'_>]) -> bool {
    let mut models = groups.iter().flat_map(|group| &group.sources).map(|source| &recipe.models[source.model]);
    models.all(|model| model.tied() == Some(true))
}

/// Models merged whole: the names of the result are those of the models.
fn whole(recipe: &Recipe<'_>, group: &Group<'_>) -> Vec<Planned> {
    let models: Vec<&Parent<'_>> = group.sources.iter().map(|source| &recipe.models[source.model]).collect();
    let names: BTreeSet<&str> = models.iter().flat_map(|model| model.tensors.names()).collect();
    let stacks: Vec<_> = models.iter().map(|model| stacks(model)).collect();
    let planned = |name: &str| {
        let t = split(name).map_or(0.0, |(prefix, layer, _)| {
            let count = stacks.iter().filter_map(|stacks| stacks.get(prefix)).max().copied().unwrap_or(1);
            at(layer, count)
        });
        Planned { name: name.to_owned(), group: 0, inputs: vec![name.to_owned(); models.len()], t }
    };
    names.into_iter().map(planned).collect()
}

/// A range of one layer is at its end, as in MergeKit.
fn at(layer: usize, count: usize) -> f64 {
    if count > 1 { layer as f64 / (count - 1) as f64 } else { 1.0 }
}

/// The tensors of a result, and which layer of which model each of its layers comes from.
type Slices = (Vec<Planned>, Option<Vec<(usize, usize)>>);

/// Ranges of layers, one after the other.
fn slices(recipe: &Recipe<'_>, groups: &[Group<'_>]) -> Result<Slices, OpError> {
    let prefix = check_ranges(recipe, groups)?;
    let mut tensors = Vec::new();
    let mut layers = Vec::new();
    let (first, last) = (&groups[0], &groups[groups.len() - 1]);
    for (group, number, early) in [(first, 0, true), (last, groups.len() - 1, false)] {
        let outside = |source: &Source<'_>| {
            let names = recipe.models[source.model].tensors.names();
            names.filter(|name| split(name).is_none() && is_early(name) == early).map(str::to_owned).collect::<Vec<_>>()
        };
        // MergeKit pairs the tensors after the layers with as many sources as the first slice has.
        let count = if early { group.sources.len() } else { group.sources.len().min(first.sources.len()) };
        let names: BTreeSet<String> = group.sources[..count].iter().flat_map(outside).collect();
        let planned = |name: String| Planned { inputs: vec![name.clone(); count], name, group: number, t: 0.0 };
        tensors.extend(names.into_iter().map(planned));
    }
    for (number, group) in groups.iter().enumerate() {
        let starts: Vec<usize> = group.sources.iter().filter_map(|source| Some(source.layers?[0])).collect();
        let count = group.sources.first().and_then(|source| source.layers).map_or(0, |[first, end]| end - first);
        for offset in 0..count {
            let out = layers.len();
            let mut ends = BTreeSet::new();
            for (source, start) in group.sources.iter().zip(&starts) {
                let here = format!("{prefix}{}.", start + offset);
                let names = recipe.models[source.model].tensors.names_with(&here);
                ends.extend(names.map(|name| &name[here.len() - 1..]));
            }
            tensors.extend(ends.into_iter().map(|end| Planned {
                name: format!("{prefix}{out}{end}"),
                group: number,
                inputs: starts.iter().map(|start| format!("{prefix}{}{end}", start + offset)).collect(),
                t: at(offset, count),
            }));
            layers.extend(
                group.sources.first().zip(starts.first()).map(|(source, start)| (source.model, start + offset)),
            );
        }
    }
    Ok((tensors, Some(layers)))
}

/// Embeddings come from the first slice, what follows the layers from the last.
fn is_early(name: &str) -> bool {
    ["embed", "wte", "wpe"].iter().any(|word| name.contains(word))
}

/// Returns what the names of layers begin with, after checking that all ranges are there.
fn check_ranges(recipe: &Recipe<'_>, groups: &[Group<'_>]) -> Result<String, OpError> {
    let mut prefix: Option<String> = None;
    for source in groups.iter().flat_map(|group| &group.sources) {
        let model = &recipe.models[source.model];
        let stacks = stacks(model);
        let names = || stacks.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let Some((name, count)) = stacks.iter().next().filter(|_| stacks.len() == 1) else {
            let what = if stacks.is_empty() { "no layers".to_owned() } else { format!("layers in {}", names()) };
            let help = "slices need models with one stack of layers; merge such models whole, with `models`";
            return Err(OpError::new(format!("`{}` has {what}", model.name)).help(help));
        };
        if prefix.as_ref().is_some_and(|known| known != name) {
            return Err(OpError::new(format!("the layers of `{}` are called {}, unlike others", model.name, names())));
        }
        if let Some([first, end]) = source.layers
            && (first >= end || end > *count)
        {
            let message = format!("`{}` has {count} layers, and no range [{first}, {end}] of them", model.name);
            return Err(OpError::new(message).help("ranges begin with 0 and end after their last layer"));
        }
        prefix = Some(name.clone());
    }
    prefix.ok_or_else(|| OpError::new("there is no slice"))
}

/// Finds every input, or says what is missing or does not fit.
fn resolve(recipe: &Recipe<'_>, groups: &[Group<'_>], tensors: &mut [Planned]) -> Result<(), OpError> {
    let aligned = recipe.config.vocabulary().is_some();
    let mut differences = Vec::new();
    for tensor in tensors.iter_mut() {
        let models: Vec<&Parent<'_>> =
            groups[tensor.group].sources.iter().map(|source| &recipe.models[source.model]).collect();
        for (input, model) in tensor.inputs.iter_mut().zip(&models) {
            if input == OUTPUT_LAYER && model.tensors.get(input).is_none() {
                let embedding = model.tensors.names().find(|name| name.ends_with(EMBEDDING));
                if let Some(embedding) = embedding {
                    embedding.clone_into(input);
                }
            }
        }
        let skip = usize::from(aligned && is_vocabulary(&tensor.name));
        let shapes: Vec<Option<&[usize]>> =
            tensor.inputs.iter().zip(&models).map(|(input, model)| Some(model.tensors.get(input)?.shape)).collect();
        if shapes.iter().all(|shape| shape.is_some_and(|shape| shape.len() >= skip))
            && shapes.windows(2).all(|pair| pair[0].map(|s| &s[skip..]) == pair[1].map(|s| &s[skip..]))
        {
            continue;
        }
        let each = models.iter().zip(&shapes).map(|(model, shape)| match shape {
            Some(shape) => format!("{} {shape:?}", model.name),
            None => format!("{} lacks it", model.name),
        });
        differences.push((tensor.name.clone(), each.collect::<Vec<_>>().join(", ")));
    }
    let [(first, what), rest @ ..] = &differences[..] else { return Ok(()) };
    if *first == OUTPUT_LAYER && rest.is_empty() {
        return Err(output_layer(recipe, groups, what));
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
    Err(OpError::new(lines.join("\n  ")).help(help))
}

fn output_layer(recipe: &Recipe<'_>, groups: &[Group<'_>], what: &str) -> OpError {
    let last = &groups[groups.len() - 1];
    let models: Vec<&Parent<'_>> = last.sources.iter().map(|source| &recipe.models[source.model]).collect();
    let stores = |model: &&&Parent<'_>| model.tensors.get(OUTPUT_LAYER).is_some();
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
