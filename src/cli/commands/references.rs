//! The models that a merge without a pipeline names: folders, and adapters that are added to them first (`model+adapter`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::report::CliError;
use crate::spec::Diagnostic;
use crate::spec::document::Document;
use crate::spec::path::FieldPath;

/// A model: its folder, and that of the adapter that is added to it.
pub(super) struct Reference {
    model: PathBuf,
    adapter: Option<PathBuf>,
}

/// Finds the folders of all models: paths from here, as for MergeKit, or from the configuration's own folder.
pub(super) fn find(
    places: &[(String, String)],
    document: &Document,
    file: &Path,
) -> Result<BTreeMap<String, Reference>, Vec<Diagnostic>> {
    let mut found = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for (place, name) in places {
        if found.contains_key(name) {
            continue;
        }
        match folders(name, file) {
            Ok(reference) => {
                found.insert(name.clone(), reference);
            }
            Err((message, help)) => {
                let span = document.value_span(&FieldPath::parse(place));
                diagnostics.push(Diagnostic::new(span, message).maybe_help(Some(help.to_owned())));
            }
        }
    }
    if diagnostics.is_empty() { Ok(found) } else { Err(diagnostics) }
}

/// Finds the folder or the two folders of a name. A folder may itself have a `+` in its name.
fn folders(name: &str, file: &Path) -> Result<Reference, (String, &'static str)> {
    let folder = |name: &str| {
        let beside = file.parent().unwrap_or(Path::new("")).join(name);
        let folder = [PathBuf::from(name), beside].into_iter().find(|folder| folder.is_dir())?;
        folder.canonicalize().ok()
    };
    if let Some(model) = folder(name) {
        return Ok(Reference { model, adapter: None });
    }
    let help = "models are folders here; fetch one from the hub first";
    let mut parts = name.match_indices('+').map(|(at, _)| (&name[..at], &name[at + 1..])).peekable();
    let Some(first) = parts.peek().copied() else { return Err((format!("there is no folder `{name}`"), help)) };
    let both = parts.find_map(|(model, adapter)| Some((folder(model)?, folder(adapter)?)));
    if let Some((model, adapter)) = both {
        return Ok(Reference { model, adapter: Some(adapter) });
    }
    let missing = if folder(first.0).is_none() { first.0 } else { first.1 };
    let help = "before the `+` stands the folder of a model, behind it that of an adapter";
    Err((format!("there is no folder `{missing}`"), help))
}

/// Adds nodes that bring the models in; returns the name of the node for each model.
pub(super) fn nodes(
    references: &BTreeMap<String, Reference>,
    nodes: &mut Map<String, Value>,
) -> Result<BTreeMap<String, String>, CliError> {
    let mut names = BTreeMap::new();
    for (i, (reference, folders)) in references.iter().enumerate() {
        let name = format!("model_{}", i + 1);
        let model = path(&folders.model)?;
        if let Some(adapter) = &folders.adapter {
            let (base, lora) = (format!("base_{}", i + 1), format!("adapter_{}", i + 1));
            nodes.insert(base.clone(), json!({"kind": "source", "model": model}));
            nodes.insert(lora.clone(), json!({"kind": "source", "adapter": path(adapter)?}));
            nodes.insert(name.clone(), json!({"kind": "apply_lora", "model": base, "adapter": lora}));
        } else {
            nodes.insert(name.clone(), json!({"kind": "source", "model": model}));
        }
        names.insert(reference.clone(), name);
    }
    Ok(names)
}

/// Returns a folder as a pipeline writes it.
pub(super) fn path(folder: &Path) -> Result<String, CliError> {
    let unusable = || CliError::user(format!("the folder {} has no UTF-8 name", folder.display()));
    Ok(folder.to_str().ok_or_else(unusable)?.replace("${", "$${"))
}
