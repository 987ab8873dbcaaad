//! A MergeKit configuration that is a file of its own: its mistakes, each with its place in that file.
//!
//! There are two kinds: those of `mergekit-yaml`, and those of `mergekit-moe`, which list `experts`.

use serde_json::Value;

use super::document::Document;
pub use super::merge_reference::settle;
use super::params::{MergeConfig, MergeParams, Mistake, MoeParams, Params};
use super::path::FieldPath;
use super::unreadable::{self, Words};
use super::{Diagnostic, merge_reference};

/// Returns what the text says, and what is wrong with it.
pub fn value(text: &str) -> (Value, Vec<Diagnostic>) {
    match Document::read(text) {
        Ok(mut document) => {
            let mut diagnostics = flatten(&mut document);
            diagnostics.extend(understand(&document).1);
            (document.value, diagnostics)
        }
        Err(diagnostics) => (Value::Null, diagnostics),
    }
}

/// What a configuration asks for.
#[derive(Debug)]
pub enum MergeFile {
    /// Weights combined.
    Merge(Box<MergeConfig>),
    /// A mixture of experts.
    Moe(Box<MoeParams>),
}

impl MergeFile {
    /// Returns every place that names a model, with what stands there.
    pub fn references(&self) -> Vec<(String, String)> {
        match self {
            MergeFile::Merge(config) => {
                config.references().into_iter().map(|(place, name)| (place, name.0.clone())).collect()
            }
            MergeFile::Moe(params) => {
                params.inputs().into_iter().map(|input| (input.slot, input.from.0.clone())).collect()
            }
        }
    }
}

/// Reads a configuration, or returns all that is wrong with it.
pub fn read(text: &str) -> Result<(MergeFile, Document), Vec<Diagnostic>> {
    let mut document = Document::read(text)?;
    let diagnostics = flatten(&mut document);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    if document.value.get("experts").is_some() {
        return read_moe(document);
    }
    let (config, document) = read_merge(document)?;
    Ok((MergeFile::Merge(Box::new(config)), document))
}

/// Makes text of the models that are written as a mapping.
fn flatten(document: &mut Document) -> Vec<Diagnostic> {
    let mistakes = merge_reference::flatten(&mut document.value);
    mistakes.into_iter().map(|mistake| told(document, mistake, "merge_method")).collect()
}

fn read_moe(document: Document) -> Result<(MergeFile, Document), Vec<Diagnostic>> {
    let params: MoeParams =
        serde_path_to_error::deserialize(&document.value).map_err(|error| vec![unreadable(&document, &error)])?;
    let diagnostics: Vec<Diagnostic> =
        params.check().into_iter().map(|mistake| told(&document, mistake, "experts")).collect();
    if diagnostics.is_empty() { Ok((MergeFile::Moe(Box::new(params)), document)) } else { Err(diagnostics) }
}

fn read_merge(document: Document) -> Result<(MergeConfig, Document), Vec<Diagnostic>> {
    match understand(&document) {
        (Some(config), diagnostics) if diagnostics.is_empty() => Ok((config, document)),
        (_, diagnostics) => Err(diagnostics),
    }
}

fn understand(document: &Document) -> (Option<MergeConfig>, Vec<Diagnostic>) {
    let config: MergeConfig = match serde_path_to_error::deserialize(&document.value) {
        Ok(config) => config,
        Err(error) => return (None, vec![unreadable(document, &error)]),
    };
    let params = MergeParams::of_config(config);
    let diagnostics = params.check().into_iter().map(|mistake| told(document, mistake, "merge_method"));
    let diagnostics = diagnostics.collect();
    (params.config.map(|config| *config), diagnostics)
}

/// Returns a mistake with its place; one that has none is shown at the field `otherwise`.
fn told(document: &Document, mistake: Mistake, otherwise: &str) -> Diagnostic {
    let field = mistake.field.strip_prefix("config").unwrap_or(&mistake.field);
    let path = FieldPath::parse(field.strip_prefix('.').unwrap_or(field));
    let span = if path.0.is_empty() { document.key_span(&path.key(otherwise)) } else { document.value_span(&path) };
    Diagnostic::new(span, mistake.message).maybe_help(mistake.help)
}

fn unreadable(document: &Document, error: &serde_path_to_error::Error<serde_json::Error>) -> Diagnostic {
    let words = Words { unknown_field: "is nothing that can be merged by", owner: "the merge" };
    unreadable::diagnostic(document, error, words, |at| match at.last_key() {
        Some("merge_method") => "merge method",
        _ => "value",
    })
}
