//! What the command line changes in a pipeline, on top of its files and their profiles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::diagnostic::{Diagnostic, Place};
use super::pipeline::{Axis, Exclude, Pipeline, Zip};
use super::{combine, suggest};

/// What comes from outside the files.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--set name=value`: the parameter has this one value.
    pub set: Vec<(String, Value)>,
    /// `--sweep name=values`: the parameter has these values.
    pub sweep: Vec<(String, Vec<Value>)>,
    /// `--zip a,b`: these axes move together.
    pub zip: Vec<Vec<String>>,
    /// `--exclude a=1,b=2`: every point with all of these values is left out.
    pub exclude: Vec<Vec<(String, Value)>>,
    /// `--profile name`.
    pub profile: Option<String>,
    /// The variables of the environment.
    pub env: BTreeMap<String, String>,
    /// The values that a search has tried, and is to try next, by the whole name of its parameter.
    pub trials: BTreeMap<String, Vec<Value>>,
}

impl Overrides {
    /// Says whether a parameter is fixed by the command line.
    pub(super) fn fixes(&self, name: &str) -> bool {
        self.set.iter().any(|(known, _)| known == name) || self.sweep.iter().any(|(known, _)| known == name)
    }
}

/// Puts the command line's values in place of the file's. A parameter that is set is swept no longer.
pub(super) fn apply(pipeline: &mut Pipeline, overrides: &Overrides, diagnostics: &mut Vec<Diagnostic>) {
    let Pipeline { params, axes, given, unreadable_params, .. } = pipeline;
    let axis_names = axes.iter().map(|axis| &axis.name);
    let known: Vec<String> = params.keys().chain(axis_names).chain(&*unreadable_params).cloned().collect();
    let flags = overrides.set.iter().map(|(name, _)| ("--set", name));
    for (flag, name) in flags.chain(overrides.sweep.iter().map(|(name, _)| ("--sweep", name))) {
        if !known.contains(name) {
            let help = suggest::help(name, known.iter().map(String::as_str));
            let message = format!("`{flag} {name}`: the pipeline has no such parameter");
            diagnostics.push(Diagnostic::new(0..0, message).maybe_help(help));
        }
    }
    for (name, value) in &overrides.set {
        axes.retain(|axis| axis.name != *name);
        given.remove(name);
        params.insert(name.clone(), value.clone());
    }
    for (name, values) in &overrides.sweep {
        given.remove(name);
        match axes.iter_mut().find(|axis| axis.name == *name) {
            Some(axis) => axis.values.clone_from(values),
            None if known.contains(name) => {
                axes.push(Axis { name: name.clone(), values: values.clone(), place: Place::default() });
            }
            None => {}
        }
    }
    // A swept parameter has its own value at every point; the file's single one must not shadow it.
    params.retain(|name, _| !axes.iter().any(|axis| axis.name == *name));
    combinations(pipeline, overrides, diagnostics);
}

fn combinations(pipeline: &mut Pipeline, overrides: &Overrides, diagnostics: &mut Vec<Diagnostic>) {
    let changed: BTreeSet<String> = overrides
        .set
        .iter()
        .map(|(name, _)| name)
        .chain(overrides.sweep.iter().map(|(name, _)| name))
        .cloned()
        .collect();
    let nowhere = Place::default();
    for names in &overrides.zip {
        let what = format!("--zip {}", names.join(","));
        let found: Vec<_> = names.iter().map(|name| combine::axis(&pipeline.axes, &what, name, nowhere)).collect();
        if found.len() < 2 {
            diagnostics.push(Diagnostic::new(nowhere, format!("`{what}`: two parameters or more are zipped")));
        } else if found.iter().all(Result::is_ok) {
            pipeline.zips.retain(|zip| !zip.names.iter().any(|name| names.contains(name)));
            pipeline.zips.push(Zip { names: names.clone(), place: nowhere });
        } else {
            diagnostics.extend(found.into_iter().filter_map(Result::err));
        }
    }
    combine::settle(pipeline, &changed, diagnostics);
    for at in &overrides.exclude {
        let what = "--exclude";
        let check = |(name, value): &(String, Value)| {
            combine::axis(&pipeline.axes, what, name, nowhere)
                .and_then(|axis| combine::value_of(axis, what, value, nowhere))
        };
        let wrong: Vec<Diagnostic> = at.iter().filter_map(|pair| check(pair).err()).collect();
        if wrong.is_empty() {
            pipeline.excludes.push(Exclude { at: at.clone(), place: nowhere, strict: true });
        }
        diagnostics.extend(wrong);
    }
}
