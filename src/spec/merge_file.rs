//! A MergeKit configuration that is a file of its own: its mistakes, each with its place in that file.

use serde_json::Value;

use super::document::Document;
use super::params::{MergeConfig, MergeParams, Params};
use super::path::FieldPath;
use super::{Diagnostic, suggest};

/// Returns what the text says, and what is wrong with it.
pub fn value(text: &str) -> (Value, Vec<Diagnostic>) {
    match Document::read(text) {
        Ok(document) => {
            let (_, diagnostics) = understand(&document);
            (document.value, diagnostics)
        }
        Err(diagnostics) => (Value::Null, diagnostics),
    }
}

/// Reads a configuration, or returns all that is wrong with it.
pub fn read(text: &str) -> Result<(MergeConfig, Document), Vec<Diagnostic>> {
    let document = Document::read(text)?;
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
    let diagnostics = params.check().into_iter().map(|mistake| {
        let field = mistake.field.strip_prefix("config").unwrap_or(&mistake.field);
        let path = FieldPath::parse(field.strip_prefix('.').unwrap_or(field));
        let span =
            if path.0.is_empty() { document.key_span(&path.key("merge_method")) } else { document.value_span(&path) };
        Diagnostic::new(span, mistake.message).maybe_help(mistake.help)
    });
    let diagnostics = diagnostics.collect();
    (params.config.map(|config| *config), diagnostics)
}

fn unreadable(document: &Document, error: &serde_path_to_error::Error<serde_json::Error>) -> Diagnostic {
    let message = error.inner().to_string();
    let mut at = FieldPath::parse(&error.path().to_string().replace('?', ""));
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('`').nth(1).map(str::to_owned);
    let known = || message.split('`').skip(3).step_by(2);
    if let Some(field) = quoted("unknown field ") {
        if at.last_key() != Some(&field) {
            at = at.key(&field);
        }
        return Diagnostic::new(document.key_span(&at), format!("`{field}` is nothing that can be merged by"))
            .label("not known here")
            .maybe_help(suggest::help(&field, known()));
    }
    if let Some(word) = quoted("unknown variant ") {
        return Diagnostic::new(document.value_span(&at), format!("there is no merge method `{word}`"))
            .maybe_help(suggest::help(&word, known()));
    }
    Diagnostic::new(document.value_span(&at), message)
}
