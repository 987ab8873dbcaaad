//! What serde says of a YAML file that is a thing of its own (a merge configuration, a task), at its place in that file and in
//! words for whoever wrote it.

use super::Diagnostic;
use super::document::Document;
use super::path::FieldPath;
use super::suggest;

/// What the words of a message are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// What an unknown field is, after its name.
    pub(super) unknown_field: &'static str,
    /// What is needed where a field is missing: `the task`.
    pub(super) owner: &'static str,
}

/// Returns what is wrong. `what` names what stands at a place where only certain words may: `merge method`.
pub(super) fn diagnostic(
    document: &Document,
    error: &serde_path_to_error::Error<serde_json::Error>,
    words: Words,
    what: impl FnOnce(&FieldPath) -> &'static str,
) -> Diagnostic {
    let message = error.inner().to_string();
    let mut at = FieldPath::parse(&error.path().to_string().replace('?', ""));
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('`').nth(1).map(str::to_owned);
    let known = || message.split('`').skip(3).step_by(2);
    if let Some(field) = quoted("unknown field ") {
        if at.last_key() != Some(&field) {
            at = at.key(&field);
        }
        let diagnostic = Diagnostic::new(document.key_span(&at), format!("`{field}` {}", words.unknown_field));
        return diagnostic.label("not known here").maybe_help(suggest::help(&field, known()));
    }
    if let Some(word) = quoted("unknown variant ") {
        let diagnostic = Diagnostic::new(document.value_span(&at), format!("there is no {} `{word}`", what(&at)));
        return diagnostic.maybe_help(suggest::help(&word, known()));
    }
    if let Some(field) = quoted("missing field ") {
        return Diagnostic::new(document.key_span(&at), format!("{} needs the field `{field}`", words.owner));
    }
    Diagnostic::new(document.value_span(&at), message)
}
