//! Which tensors the result has, and which tensors of the models each is made from.
//!
//! MergeKit has a file for every architecture. Here names are matched as they are: a number between dots is the number
//! of a layer, what has none belongs to no layer. Everything is looked up before the first number is read.

use std::collections::{BTreeMap, BTreeSet};

use super::recipe::{Group, Module, Recipe, Source};
use super::resolve::resolve;
use super::{OpError, Parent};

/// The most names that are listed.
const LISTED: usize = 5;

/// The output layer, which models whose embedding is tied to it don't store.
pub(super) const OUTPUT_LAYER: &str = "lm_head.weight";

/// One tensor of the result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    /// What it is called in the result.
    pub(super) name: String,
    /// The group it is made from.
    pub(super) group: usize,
    /// The sources of the group that it is made from, and what it is called in each; they may be fewer than the group has.
    pub(super) inputs: Vec<(usize, String)>,
    /// Whether the only input is the result.
    pub(super) copied: bool,
    /// How far through its range of layers it is, from 0 to 1.
    pub(super) t: f64,
}

/// The tensors of the result and the layers they come from.
pub(super) struct Plan {
    /// In the order in which MergeKit visits them: by the name in the first source.
    pub(super) tensors: Vec<Planned>,
    /// The layers of what is made of slices.
    pub(super) layers: Vec<Layers>,
}

/// Where the layers of a model, or of a part of one, come from.
pub(super) struct Layers {
    /// How many the donor has there.
    pub(super) before: usize,
    /// Whether this is a part of the model rather than the whole.
    pub(super) part: bool,
    /// The model and its layer that each layer of the result takes its settings from.
    pub(super) from: Vec<(usize, usize)>,
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

/// Returns how many layers a model has in each of its stacks, of those tensors that `belongs` names.
fn stacks(model: &Parent<'_>, belongs: Belongs<'_>) -> BTreeMap<String, usize> {
    let mut stacks = BTreeMap::new();
    for (prefix, layer, _) in model.names().filter(|name| belongs(name)).filter_map(split) {
        let count = stacks.entry(prefix.to_owned()).or_insert(0);
        *count = (*count).max(layer + 1);
    }
    stacks
}

/// Says whether a tensor is of the module that is being planned.
type Belongs<'a> = &'a dyn Fn(&str) -> bool;

/// Plans all tensors of a merge.
pub(super) fn plan(recipe: &Recipe<'_>, groups: &[Group<'_>], modules: &[Module<'_>]) -> Result<Plan, OpError> {
    for source in groups.iter().flat_map(|group| &group.sources) {
        let model = &recipe.models[source.model];
        if model.names().next().is_none() {
            return Err(OpError::new(format!("`{}` holds no tensors", model.name)));
        }
    }
    check_modules(recipe, modules)?;
    let (mut tensors, mut layers) = (Vec::new(), Vec::new());
    for (number, module) in modules.iter().enumerate() {
        let belongs = |name: &str| module_of(modules, name) == Some(number);
        if module.sliced {
            let (mut sliced, from) = slices(recipe, groups, module, &belongs)?;
            let before = stacks(&recipe.models[recipe.donor()], &belongs).into_values().max().unwrap_or(0);
            layers.push(Layers { before, part: module.name.is_some(), from });
            tensors.append(&mut sliced);
        } else {
            tensors.append(&mut whole(recipe, groups, module.groups.start, &belongs));
        }
    }
    tensors.retain(|tensor| !(tensor.name == OUTPUT_LAYER && all_tied(recipe, groups)));
    let mut tensors = resolve(recipe, groups, tensors)?;
    let input = |tensor: &Planned| tensor.inputs.first().map(|(_, input)| input.clone());
    tensors.sort_by(|a, b| input(a).cmp(&input(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(Plan { tensors, layers })
}

/// Returns the module that a tensor belongs to: the one with the longest prefix.
fn module_of(modules: &[Module<'_>], name: &str) -> Option<usize> {
    if let [only] = modules
        && only.prefixes.is_empty()
    {
        return Some(0);
    }
    let fits = |module: &Module<'_>| {
        module.prefixes.iter().filter(|prefix| name.starts_with(prefix.as_str())).map(String::len).max()
    };
    modules.iter().enumerate().filter_map(|(i, module)| Some((fits(module)?, i))).max().map(|(_, i)| i)
}

/// Checks that every tensor belongs to a module.
fn check_modules(recipe: &Recipe<'_>, modules: &[Module<'_>]) -> Result<(), OpError> {
    let names = recipe.models.iter().flat_map(Parent::names);
    let left: BTreeSet<&str> = names.filter(|name| module_of(modules, name).is_none()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let some: Vec<&str> = left.iter().copied().take(LISTED).collect();
    let message = format!("{} tensors belong to no module: {}", left.len(), some.join(", "));
    Err(OpError::new(message).help("add what their names begin with to the `prefixes` of a module"))
}

/// Returns whether every model says that its output layer is the embedding: a stored one is a copy then.
fn all_tied(recipe: &Recipe<'_>, groups: &[Group<'_>]) -> bool {
    let mut models = groups.iter().flat_map(|group| &group.sources).map(|source| &recipe.models[source.model]);
    models.all(|model| model.tied() == Some(true))
}

/// Models merged whole: the names of the result are those of the models.
fn whole(recipe: &Recipe<'_>, groups: &[Group<'_>], group: usize, belongs: Belongs<'_>) -> Vec<Planned> {
    let models: Vec<&Parent<'_>> = groups[group].sources.iter().map(|source| &recipe.models[source.model]).collect();
    let names: BTreeSet<&str> = models.iter().flat_map(|model| model.names()).filter(|name| belongs(name)).collect();
    let stacks: Vec<_> = models.iter().map(|model| stacks(model, belongs)).collect();
    let planned = |name: &str| {
        let t = split(name).map_or(0.0, |(prefix, layer, _)| {
            let count = stacks.iter().filter_map(|stacks| stacks.get(prefix)).max().copied().unwrap_or(1);
            at(layer, count)
        });
        let inputs = (0..models.len()).map(|i| (i, name.to_owned())).collect();
        Planned { name: name.to_owned(), group, inputs, copied: false, t }
    };
    names.into_iter().map(planned).collect()
}

/// A range of one layer is at its end, as in MergeKit.
fn at(layer: usize, count: usize) -> f64 {
    if count > 1 { layer as f64 / (count - 1) as f64 } else { 1.0 }
}

/// The tensors of a result, and which layer of which model each of its layers comes from.
type Slices = (Vec<Planned>, Vec<(usize, usize)>);

/// Ranges of layers, one after the other.
fn slices(
    recipe: &Recipe<'_>,
    groups: &[Group<'_>],
    module: &Module<'_>,
    belongs: Belongs<'_>,
) -> Result<Slices, OpError> {
    let offset = module.groups.start;
    let groups = &groups[module.groups.clone()];
    let prefix = check_ranges(recipe, groups, belongs)?;
    let mut tensors = Vec::new();
    let mut layers = Vec::new();
    let (first, last) = (&groups[0], &groups[groups.len() - 1]);
    for (group, number, early) in [(first, 0, true), (last, groups.len() - 1, false)] {
        let outside = |source: &Source<'_>| {
            let names = recipe.models[source.model].names().filter(|name| belongs(name));
            names.filter(|name| split(name).is_none() && is_early(name) == early).map(str::to_owned).collect::<Vec<_>>()
        };
        // MergeKit pairs the tensors after the layers with as many sources as the first slice has.
        let count = if early { group.sources.len() } else { group.sources.len().min(first.sources.len()) };
        let names: BTreeSet<String> = group.sources[..count].iter().flat_map(outside).collect();
        let planned = |name: String| {
            let inputs = (0..count).map(|i| (i, name.clone())).collect();
            Planned { inputs, name, group: offset + number, copied: false, t: 0.0 }
        };
        tensors.extend(names.into_iter().map(planned));
    }
    for (number, group) in groups.iter().enumerate() {
        let starts: Vec<usize> = group.sources.iter().filter_map(|source| Some(source.layers?[0])).collect();
        let count = group.sources.first().and_then(|source| source.layers).map_or(0, |[first, end]| end - first);
        for layer in 0..count {
            let out = layers.len();
            let mut ends = BTreeSet::new();
            for (source, start) in group.sources.iter().zip(&starts) {
                let here = format!("{prefix}{}", start + layer);
                let names = recipe.models[source.model].names();
                ends.extend(names.filter_map(|name| name.strip_prefix(&here)).filter(|end| end.starts_with('.')));
            }
            let name = |start: &usize, end: &str| format!("{prefix}{}{end}", start + layer);
            tensors.extend(ends.into_iter().map(|end| Planned {
                name: format!("{prefix}{out}{end}"),
                group: offset + number,
                inputs: starts.iter().map(|start| name(start, end)).enumerate().collect(),
                copied: false,
                t: at(layer, count),
            }));
            layers
                .extend(group.sources.first().zip(starts.first()).map(|(source, start)| (source.model, start + layer)));
        }
    }
    Ok((tensors, layers))
}

/// Embeddings come from the first slice, what follows the layers from the last.
fn is_early(name: &str) -> bool {
    ["embed", "wte", "wpe"].iter().any(|word| name.contains(word))
}

/// Returns what the names of layers begin with, after checking that all ranges are there.
fn check_ranges(recipe: &Recipe<'_>, groups: &[Group<'_>], belongs: Belongs<'_>) -> Result<String, OpError> {
    let mut prefix: Option<String> = None;
    for source in groups.iter().flat_map(|group| &group.sources) {
        let model = &recipe.models[source.model];
        let stacks = stacks(model, belongs);
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
