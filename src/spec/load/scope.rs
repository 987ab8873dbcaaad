//! The parameters and axes of one scope: what whoever includes a file gives it, and their names in the whole pipeline.

use super::Loader;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::file::Level;
use crate::spec::include::Include;
use crate::spec::pipeline::{Axis, Exclude, Pipeline, Scope, Zip};
use crate::spec::suggest;

impl Loader<'_> {
    /// Gives the parameters of an included file the values that the entry has for them.
    pub(super) fn give(&mut self, include: &Include, outer: &str, prefix: &str, level: &mut Level, out: &mut Pipeline) {
        for (name, value, place) in &include.params {
            if !level.knows(name) {
                let message = format!("{} has no parameter `{name}`", include.path);
                let help = suggest::help(name, level.names());
                self.diagnostics.push(Diagnostic::new(*place, message).maybe_help(help));
                continue;
            }
            if value.is_object() {
                let message = format!("the parameter `{name}` must be a value or a list");
                self.diagnostics.push(Diagnostic::new(*place, message));
                level.params.remove(name);
                level.unreadable.push(name.clone());
                continue;
            }
            level.set(name, value.clone());
            level.places.retain(|(known, _)| known != name);
            level.places.push((name.clone(), *place));
            if value.to_string().contains("${") {
                out.given.insert(format!("{prefix}{name}"), Scope::Prefix(outer.to_owned()));
            }
        }
    }
}

/// Adds the parameters and axes of one scope under its prefix.
pub(super) fn add_level(level: Level, prefix: &str, out: &mut Pipeline) {
    let whole = |name: String| format!("{prefix}{name}");
    for (name, place) in level.places {
        out.places.insert(whole(name), place);
    }
    for (name, value) in level.params {
        let name = whole(name);
        if value.to_string().contains("${env:") && !out.given.contains_key(&name) {
            out.given.insert(name.clone(), Scope::Environment);
        }
        out.params.insert(name, value);
    }
    out.axes.extend(level.axes.into_iter().map(|axis| Axis { name: whole(axis.name), ..axis }));
    let names = |names: Vec<String>| names.into_iter().map(whole).collect();
    out.zips.extend(level.zips.into_iter().map(|zip| Zip { names: names(zip.names), ..zip }));
    for exclude in level.excludes {
        let at = exclude.at.into_iter().map(|(name, value)| (whole(name), value)).collect();
        out.excludes.push(Exclude { at, ..exclude });
    }
    out.unreadable_params.extend(level.unreadable.into_iter().map(whole));
}
