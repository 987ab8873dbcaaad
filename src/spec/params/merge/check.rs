//! What is wrong with a MergeKit configuration, before a byte of a model is read.
//!
//! MergeKit finds most of this when it reaches the tensor, minutes into a run, or never.

use std::collections::BTreeSet;

use super::super::{InputRef, Mistake};
use super::config::{MergeConfig, Settings};
use super::method::{BaseUse, Scope};
use crate::spec::suggest;

/// The types that MergeKit knows and this program computes in.
const DTYPES: [&str; 3] = ["bfloat16", "float16", "float32"];

/// Returns the mistakes of a configuration; fields are paths below `config`.
pub(super) fn mistakes(config: &MergeConfig) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    match (&config.models, &config.slices) {
        (None, None) => {
            let help = "list the models to merge";
            mistakes.push(Mistake::new("", "neither `models` nor `slices` is given").help(help));
        }
        (Some(_), Some(_)) => mistakes.push(Mistake::new("slices", "give `models` or `slices`, not both")),
        (Some(models), None) => {
            let parts = models.iter().map(|model| (&model.model, model.parameters.as_ref())).collect();
            group(config, "models", parts, None, None, true, &mut mistakes);
        }
        (None, Some(slices)) => layers(config, slices, &mut mistakes),
    }
    parameters(config, &mut mistakes);
    for (field, name) in [("dtype", &config.dtype), ("out_dtype", &config.out_dtype)] {
        let Some(name) = name else { continue };
        let plain = name.strip_prefix("torch.").unwrap_or(name);
        if !DTYPES.contains(&plain) {
            let help = format!("there are `{}`", DTYPES.join("`, `"));
            mistakes.push(Mistake::new(field, format!("cannot merge in `{name}`")).help(help));
        }
    }
    for (place, reference) in config.references() {
        if reference.0.contains('@') {
            let help = "bring that revision in as a source, and name it here";
            mistakes.push(Mistake::new(place, format!("`{reference}` names a revision")).help(help));
        }
    }
    vocabulary(config, &mut mistakes);
    mistakes
}

fn layers(config: &MergeConfig, slices: &[super::config::ConfigSlice], mistakes: &mut Vec<Mistake>) {
    if slices.is_empty() {
        mistakes.push(Mistake::new("slices", "there is no slice"));
    }
    for (i, slice) in slices.iter().enumerate() {
        let place = format!("slices[{i}].sources");
        let mut lengths = BTreeSet::new();
        for (j, source) in slice.sources.iter().enumerate() {
            let [first, end] = source.layer_range;
            if first >= end {
                let message = format!("[{first}, {end}] holds no layer");
                mistakes.push(
                    Mistake::new(format!("{place}[{j}].layer_range"), message)
                        .help("the second number is the layer after the last one"),
                );
            }
            lengths.insert(end.saturating_sub(first));
        }
        if lengths.len() > 1 {
            let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
            let message = format!("the sources of one slice have {} layers", lengths.join(" and "));
            mistakes.push(Mistake::new(place.as_str(), message).help("give ranges of the same length"));
        }
        let parts = slice.sources.iter().map(|source| (&source.model, source.parameters.as_ref())).collect();
        group(config, &place, parts, slice.parameters.as_ref(), slice.base_model.as_ref(), false, mistakes);
    }
}

/// Checks the models that are merged with each other.
fn group(
    config: &MergeConfig,
    place: &str,
    parts: Vec<(&InputRef, Option<&Settings>)>,
    of_slice: Option<&Settings>,
    own_base: Option<&InputRef>,
    base_joins: bool,
    mistakes: &mut Vec<Mistake>,
) {
    let method = config.merge_method;
    let mut parts = parts;
    let mut names = BTreeSet::new();
    for (i, (model, _)) in parts.iter().enumerate() {
        if !names.insert(&model.0) {
            mistakes.push(Mistake::new(format!("{place}[{i}].model"), format!("`{model}` is listed twice")));
        }
    }
    let base = own_base.or(config.base_model.as_ref());
    if let (Some(base), true) = (base, base_joins)
        && !names.contains(&base.0)
    {
        parts.push((base, None));
    }
    let takes = method.takes();
    let listed = base.is_some_and(|base| parts.iter().any(|(model, _)| *model == base));
    let name = method.name();
    if takes.base == BaseUse::Required && base.is_none() {
        mistakes.push(Mistake::new("", format!("`{name}` needs a `base_model`")));
        return;
    }
    if takes.base != BaseUse::Ignored && base.is_some() && !listed {
        mistakes.push(Mistake::new(place, "the base is not among the sources").help("list it as a source"));
        return;
    }
    let counted = parts.len() - usize::from(!takes.with_base && listed);
    if counted < takes.least || counted > takes.most {
        let wanted = match (takes.least, takes.most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        let what = if takes.with_base { "models, the base among them" } else { "models beside the base" };
        mistakes.push(Mistake::new(place, format!("`{name}` takes {wanted} {what}, and {counted} are given")));
    }
    for parameter in method.parameters().iter().filter(|parameter| parameter.default.is_none()) {
        let has = |set: Option<&Settings>| set.is_some_and(|set| set.contains_key(parameter.name));
        let everywhere = has(of_slice) || has(config.parameters.as_ref());
        if everywhere {
            continue;
        }
        if parameter.scope == Scope::Shared {
            mistakes.push(Mistake::new("", format!("`{name}` needs the parameter `{}`", parameter.name)));
            continue;
        }
        let wants = |model: &InputRef| parameter.scope == Scope::Each || Some(model) != base;
        for (i, (model, set)) in parts.iter().enumerate() {
            if wants(model) && !has(*set) {
                let at = if i < names.len() { format!("{place}[{i}]") } else { "base_model".to_owned() };
                let message = format!("`{name}` needs the parameter `{}` for `{model}`", parameter.name);
                mistakes.push(Mistake::new(at, message));
            }
        }
    }
}

fn parameters(config: &MergeConfig, mistakes: &mut Vec<Mistake>) {
    let known = config.merge_method.parameters();
    for (place, set) in config.parameter_sets() {
        for (name, setting) in set {
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                // It changes the type of a mask in MergeKit, and no bit of any result.
                if name != "int8_mask" {
                    let message = format!("`{}` has no parameter `{name}`", config.merge_method.name());
                    let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
                    let mistake = Mistake::new(format!("{place}.{name}"), message);
                    let help = suggest::help(name, names.iter().copied());
                    mistakes.push(Mistake { help, ..mistake });
                }
                continue;
            };
            if let Some((inside, message)) = setting.mistake(parameter.kind) {
                mistakes.push(Mistake::new(format!("{place}.{name}{inside}"), message));
            }
        }
    }
}

fn vocabulary(config: &MergeConfig, mistakes: &mut Vec<Mistake>) {
    if config.tokenizer.is_some() && config.tokenizer_source.is_some() {
        mistakes.push(Mistake::new("tokenizer_source", "give `tokenizer` or `tokenizer_source`, not both"));
    }
    let Some(tokenizer) = &config.tokenizer else { return };
    if tokenizer.pad_to_multiple_of == Some(0) {
        mistakes.push(Mistake::new("tokenizer.pad_to_multiple_of", "nothing is a multiple of 0"));
    }
    for (token, rule) in tokenizer.tokens.iter().flatten() {
        if let Err(message) = rule.source() {
            mistakes.push(Mistake::new("tokenizer.tokens", format!("`{token}`: {message}")));
        }
    }
}
