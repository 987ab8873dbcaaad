//! Text to [`Pipeline`]: the files, then the profile, then the command line, then the searches.

use std::path::PathBuf;

use super::diagnostic::{Diagnostic, Place};
use super::include::{ReadFile, SourceFile};
use super::load::Loader;
pub use super::overrides::Overrides;
use super::overrides::apply;
use super::pipeline::{Pipeline, Scope};
use super::substitute::{Found, Names, Why, substitute};
use super::{env, search, suggest, tasks};

/// The version of the pipeline language that this program reads.
pub const LANGUAGE_VERSION: u64 = 1;

/// What could be read of a pipeline, and all that is wrong with it.
#[derive(Debug)]
pub struct Parsed {
    /// The readable part; nothing when a file is no pipeline at all.
    pub pipeline: Option<Pipeline>,
    /// The mistakes found so far.
    pub diagnostics: Vec<Diagnostic>,
    /// The files it is written in: first the one that the user named.
    pub files: Vec<SourceFile>,
}

/// Reads a pipeline that includes no other file. `default_name` is its name when the file gives none.
pub fn parse(text: &str, default_name: &str, overrides: &Overrides) -> Parsed {
    let main = SourceFile { path: PathBuf::from("pipeline.yaml"), text: text.to_owned() };
    parse_files(main, default_name, overrides, &|path| Err(format!("{} cannot be included here", path.display())))
}

/// Reads a pipeline and the files that it includes.
pub fn parse_files(main: SourceFile, default_name: &str, overrides: &Overrides, read: ReadFile<'_>) -> Parsed {
    let mut loader = Loader::new(read, overrides.profile.as_deref());
    let pipeline = loader.main(main, default_name);
    let Loader { files, documents, mut diagnostics, profiles, broken, .. } = loader;
    if let Some(profile) = overrides.profile.as_ref().filter(|name| pipeline.is_some() && !profiles.contains(name)) {
        let message = format!("`--profile {profile}`: the pipeline has no such profile");
        let help = suggest::help(profile, profiles.iter().map(String::as_str));
        diagnostics.push(Diagnostic::new(Place::default(), message).maybe_help(help));
    }
    // What is missing with an unreadable file would only be missed again.
    let Some(mut pipeline) = pipeline.filter(|_| !broken) else { return Parsed { pipeline: None, diagnostics, files } };
    pipeline.documents = documents;
    pipeline.environment.values.clone_from(&overrides.env);
    if pipeline.nodes.is_empty() && pipeline.unreadable.is_empty() && diagnostics.is_empty() {
        diagnostics.push(Diagnostic::new(0..0, "the pipeline has no nodes"));
    }
    apply(&mut pipeline, overrides, &mut diagnostics);
    tasks::imply(&mut pipeline);
    search::begin(&mut pipeline, overrides, &mut diagnostics);
    check_given(&mut pipeline, &mut diagnostics);
    Parsed { pipeline: Some(pipeline), diagnostics, files }
}

/// Checks the `${…}` in what included files are given.
fn check_given(pipeline: &mut Pipeline, diagnostics: &mut Vec<Diagnostic>) {
    let first = pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values[0].clone())).collect();
    let bindings = pipeline.bindings(&first);
    let mut lost = Vec::new();
    for (name, scope) in &pipeline.given {
        let (Scope::Prefix(prefix), Some(value)) = (scope, pipeline.params.get(name)) else { continue };
        let (given, environment) = (&pipeline.given, &pipeline.environment);
        let mut found = Found::default();
        substitute(value, &Names { bindings: &bindings, prefix, given, environment, is_node: None }, &mut found);
        for unresolved in found.unresolved {
            lost.push(name.clone());
            let place = pipeline.places.get(name).copied().unwrap_or_default();
            let own = pipeline.params.keys().chain(pipeline.axes.iter().map(|axis| &axis.name));
            let own: Vec<&str> = own.filter_map(|known| known.strip_prefix(prefix.as_str())).collect();
            diagnostics.push(match unresolved.why {
                Why::Parameter(unknown) if pipeline.unreadable_params.contains(&format!("{prefix}{unknown}")) => {
                    continue;
                }
                Why::Parameter(unknown) => Diagnostic::new(place, format!("unknown parameter `{unknown}`"))
                    .maybe_help(suggest::help(&unknown, own)),
                Why::Variable(variable) => env::unset(place, &variable),
                Why::Open => Diagnostic::new(place, "`${` has no closing brace"),
            });
        }
    }
    for name in lost {
        pipeline.params.remove(&name);
        pipeline.unreadable_params.push(name);
    }
}
