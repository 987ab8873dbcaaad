//! Task files: `tasks: [tasks/mine.yaml]`. The file's content takes the place of its path before anything is planned, so it
//! enters the key, and its mistakes are told with their places in it.

use serde_json::{Map, Value};

use super::expand::named;
use super::{languages, settle};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::document::Document;
use crate::spec::params::TaskDefinition;
use crate::spec::path::{FieldPath, Segment};
use crate::spec::unreadable::{self, Words};

/// Returns the paths of the task files that an eval names, with the place of each in its list.
pub(in crate::spec) fn paths(fields: &Value) -> Vec<(usize, String)> {
    let Some(tasks) = fields.get("tasks").and_then(Value::as_array) else { return Vec::new() };
    let path = |(i, entry): (usize, &Value)| Some((i, named(entry)?.0)).filter(|(_, key)| is_path(key));
    tasks.iter().enumerate().filter_map(path).collect()
}

fn is_path(name: &str) -> bool {
    [".yaml", ".yml"].iter().any(|end| name.ends_with(end)) && !name.contains("${")
}

/// Puts the content of a task file in the place of its path.
pub(in crate::spec) fn put(fields: &mut Value, place: usize, define: &Value) {
    let Some(entry) = fields.get_mut("tasks").and_then(|tasks| tasks.get_mut(place)) else { return };
    let Some((_, mut settings)) = named(entry) else { return };
    let Some(name) = define.get("task").and_then(Value::as_str) else { return };
    settings.insert("define".to_owned(), define.clone());
    *entry = Value::Object(Map::from_iter([(name.to_owned(), Value::Object(settings))]));
}

/// Returns where a field of a task's definition is written, if that is where `at` leads in the settings of an eval: the path of
/// the definition as it was written, and the field in there. What a language or a profile puts over it stands with these.
pub(in crate::spec) fn written(at: &FieldPath, fields: &Value) -> Option<(FieldPath, FieldPath)> {
    let (entry, inside) = at.0.split_at_checked(4)?;
    let (Segment::Index(place), Segment::Key(key)) = (&entry[1], &entry[2]) else { return None };
    if entry[0] != Segment::Key("tasks".to_owned()) || entry[3] != Segment::Key("definition".to_owned()) {
        return None;
    }
    let settings = fields.get("tasks")?.get(place)?.get(key)?;
    let define = settings.get("define")?;
    let language = settings.get("language").and_then(Value::as_str).unwrap_or("en");
    let profile = fields.get("profile").and_then(Value::as_str).unwrap_or("native");
    let of_language = FieldPath::root().key("languages").key(language);
    let of_profile = |over: &FieldPath| over.key("profiles").key(profile);
    let layers = [of_profile(&of_language), of_profile(&FieldPath::root()), of_language];
    let inside = FieldPath(inside.to_vec());
    let over = layers.iter().map(|over| over.join(&inside)).find(|path| path.value_in(define).is_some());
    Some((FieldPath(entry[..3].to_vec()).key("define"), over.unwrap_or(inside)))
}

/// Returns what is wrong with a task file: in its own words, in each of its languages, and by the rules of each profile.
pub fn mistakes(document: &Document) -> Vec<Diagnostic> {
    let codes = languages(&document.value);
    let variants = std::iter::once(None).chain(codes.into_iter().map(Some));
    let profiles = ["native", "luth", "lm-eval"];
    let mut mistakes: Vec<Diagnostic> = Vec::new();
    for (language, profile) in variants.flat_map(|language| profiles.map(|profile| (language, profile))) {
        let found = match settle(document.value.clone(), language, profile) {
            Ok(settled) => {
                serde_path_to_error::deserialize::<_, TaskDefinition>(&settled).err().map(|e| told(document, &e))
            }
            Err(why) => Some(Diagnostic::new(document.value_span(&FieldPath::root()), why)),
        };
        mistakes.extend(found.filter(|found| !mistakes.contains(found)));
    }
    mistakes
}

fn told(document: &Document, error: &serde_path_to_error::Error<serde_json::Error>) -> Diagnostic {
    let words = Words { unknown_field: "is nothing that a task has", owner: "the task" };
    unreadable::diagnostic(document, error, words, |_| "value")
}
