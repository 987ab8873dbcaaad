//! What is wrong with a MergeKit configuration, before a byte of a model is read.
//!
//! MergeKit finds most of this when it reaches the tensor, minutes into a run, or never.

use std::collections::BTreeSet;

use super::super::{InputRef, Mistake};
use super::config::{MergeConfig, Settings};
use super::method::{BaseUse, Scope};
use crate::spec::suggest;

/// The types that MergeKit knows and this program computes in.
const DTYPES: [&str; 4] = ["bfloat16", "float16", "float32", "float64"];

/// The chat templates with a name.
const TEMPLATES: [&str; 6] = ["auto", "alpaca", "chatml", "exaone", "llama3", "mistral"];

/// Returns the mistakes of a configuration; fields are paths below `config`.
pub(super) fn mistakes(config: &MergeConfig) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if config.modules.is_some() {
        modules(config, &mut mistakes);
    }
    for body in config.bodies() {
        match (body.models, body.slices) {
            (None, None) => {
                let help = "list the models to merge";
                let message = "neither `models` nor `slices` is given";
                mistakes.push(
                    Mistake::new(body.module.map_or_else(String::new, |name| format!("modules.{name}")), message)
                        .help(help),
                );
            }
            (Some(_), Some(_)) => {
                mistakes.push(Mistake::new(body.place("slices"), "give `models` or `slices`, not both"));
            }
            (Some(models), None) => {
                let parts = models.iter().map(|model| (&model.model, model.parameters.as_ref())).collect();
                let around = Around { outer: [body.parameters, None], base: None, joins: true };
                group(config, &body.place("models"), parts, &around, &mut mistakes);
            }
            (None, Some(slices)) => layers(config, &body, slices, &mut mistakes),
        }
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
    if let Some(name) = config.chat_template.as_ref().filter(|text| !text.contains('{'))
        && !TEMPLATES.contains(&name.as_str())
    {
        let help = suggest::help(name, TEMPLATES)
            .unwrap_or_else(|| format!("give one of `{}`, or the template itself", TEMPLATES.join("`, `")));
        mistakes.push(Mistake::new("chat_template", format!("there is no chat template `{name}`")).help(help));
    }
    mistakes
}

/// Checks that every module says which tensors it has, and that no two have the same.
fn modules(config: &MergeConfig, mistakes: &mut Vec<Mistake>) {
    if config.models.is_some() || config.slices.is_some() {
        mistakes.push(Mistake::new("modules", "give `models`, `slices` or `modules`"));
    }
    let modules = config.modules.iter().flatten();
    let count = modules.clone().count();
    if count == 0 {
        mistakes.push(Mistake::new("modules", "there is no module"));
    }
    let mut seen = BTreeSet::new();
    for (name, module) in modules {
        if module.prefixes.is_empty() && count > 1 {
            let help = "add `prefixes: [...]`, what the names of its tensors begin with, as in `[model.language_model., lm_head.]`";
            let message = format!("nothing says which tensors the module `{name}` has");
            mistakes.push(Mistake::new(format!("modules.{name}"), message).help(help));
        }
        for (i, prefix) in module.prefixes.iter().enumerate().filter(|(_, prefix)| !seen.insert(prefix.as_str())) {
            let place = format!("modules.{name}.prefixes[{i}]");
            mistakes.push(Mistake::new(place, format!("`{prefix}` is said to belong to two modules")));
        }
    }
}

/// What stands around models that are merged with each other.
struct Around<'a> {
    /// The parameters of the slice and of the module.
    outer: [Option<&'a Settings>; 2],
    /// A base of their own.
    base: Option<&'a InputRef>,
    /// Whether the base joins them if it is not listed.
    joins: bool,
}

fn layers(
    config: &MergeConfig,
    body: &super::config::Body<'_>,
    slices: &[super::config::ConfigSlice],
    mistakes: &mut Vec<Mistake>,
) {
    if slices.is_empty() {
        mistakes.push(Mistake::new(body.place("slices"), "there is no slice"));
    }
    for (i, slice) in slices.iter().enumerate() {
        let place = body.place(&format!("slices[{i}].sources"));
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
        let outer = [slice.parameters.as_ref(), body.parameters];
        let around = Around { outer, base: slice.base_model.as_ref(), joins: false };
        group(config, &place, parts, &around, mistakes);
    }
}

/// Checks the models that are merged with each other.
fn group(
    config: &MergeConfig,
    place: &str,
    parts: Vec<(&InputRef, Option<&Settings>)>,
    around: &Around<'_>,
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
    let base = around.base.or(config.base_model.as_ref());
    if let (Some(base), true) = (base, around.joins)
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
        let everywhere = around.outer.into_iter().any(has) || has(config.parameters.as_ref());
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
