//! Eval tasks by name: those that come with the program (`builtin/`, one file each, in the form of anybody's task file), and how
//! a language and a profile change one.
//!
//! A definition is a mapping with two further fields, `languages` and `profiles`: what each puts over the rest (mappings go
//! over mappings field by field, `null` takes a field away). A language may have `profiles` of its own. What is left is a
//! [`TaskDefinition`](super::params::TaskDefinition), and enters the key of the node that asks it.

mod expand;
mod file;
mod implied;
mod list;

use serde_json::{Map, Value};

pub(super) use expand::{expand_eval, expand_source};
pub use file::mistakes as mistakes_of_file;
pub(super) use file::{paths, put, written};
pub(super) use implied::imply;
pub use list::{Listed, list, names};

/// Returns a task as it is written, and the language that its name ends with. `define` is one of the user's own.
pub fn find(name: &str, language: Option<&str>, define: Option<&Value>) -> Result<(Value, Option<String>), String> {
    let (definition, own) = match define {
        Some(define) => (define.clone(), None),
        None => named(name).ok_or_else(|| format!("there is no task `{name}`"))?,
    };
    let of_name = own.is_some() && language.is_some() && own.as_deref() != language;
    if of_name {
        let language = language.unwrap_or_default();
        return Err(format!("`{name}` is that task in one language, and `language` asks for `{language}`"));
    }
    Ok((definition, language.map(str::to_owned).or(own)))
}

/// Returns the task of that name, or the one whose name with a language behind it that is.
fn named(name: &str) -> Option<(Value, Option<String>)> {
    if let Some(text) = list::text(name) {
        return Some((text, None));
    }
    let (base, language) = name.rsplit_once('-')?;
    let definition = list::text(base)?;
    definition.get("languages")?.get(language)?;
    Some((definition, Some(language.to_owned())))
}

/// Returns the languages of a task as it is written.
pub fn languages(definition: &Value) -> Vec<&str> {
    let of = |languages: &'static str| definition.get(languages).and_then(Value::as_object);
    of("languages").map(|languages| languages.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Returns what a task means in a language by the rules of a profile.
pub fn settle(mut definition: Value, language: Option<&str>, profile: &str) -> Result<Value, String> {
    let Some(fields) = definition.as_object_mut() else { return Err("a task is a mapping".into()) };
    let languages = take(fields, "languages");
    let mut profiles = take(fields, "profiles");
    let known = || languages.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let chosen = match language {
        None => languages.get("en").map(|over| ("en", over)),
        Some(code) => match languages.get_key_value(code) {
            Some((code, over)) => Some((code.as_str(), over)),
            None if languages.is_empty() => return Err("it has no languages to choose from".into()),
            None => return Err(format!("it has no language `{code}`; it has {}", known())),
        },
    };
    if let Some((code, over)) = chosen {
        let mut over = over.clone();
        if let Some(over) = over.as_object_mut() {
            cover(&mut profiles, take(over, "profiles"));
        }
        if let Some(words) = list::words(code) {
            cover_value(&mut definition, Value::Object(Map::from_iter([("words".to_owned(), words)])));
        }
        cover_value(&mut definition, over);
    }
    if let Some(over) = profiles.remove(profile) {
        cover_value(&mut definition, over);
    }
    Ok(definition)
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match fields.shift_remove(name) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn cover_value(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => cover(under, over),
        (under, over) => *under = over,
    }
}

/// Puts one mapping over another.
fn cover(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        if value.is_null() {
            under.shift_remove(&name);
            continue;
        }
        match under.get_mut(&name) {
            // Requests are one of several kinds: another kind does not go over the first, it takes its place.
            Some(known) if name != "request" || same_keys(known, &value) => cover_value(known, value),
            _ => {
                under.insert(name, value);
            }
        }
    }
}

fn same_keys(one: &Value, other: &Value) -> bool {
    match (one.as_object(), other.as_object()) {
        (Some(one), Some(other)) => one.keys().eq(other.keys()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn languages_and_profiles_go_over_the_rest() {
        let definition = json!({
            "task": "t", "prompt": "a", "source": {"dataset": "x", "split": "test"},
            "request": {"choices": {"gold": "g"}},
            "profiles": {"luth": {"prompt": "luth", "metrics": ["acc"]}},
            "languages": {"fr": {"source": {"split": "fr"}, "profiles": {"luth": {"request": {"generate": {}}, "metrics": null}}}}
        });
        let fr = settle(definition.clone(), Some("fr"), "luth").unwrap();
        assert_eq!(fr["prompt"], "luth");
        assert_eq!(fr["source"], json!({"dataset": "x", "split": "fr"}));
        assert_eq!(fr["request"], json!({"generate": {}}));
        assert!(fr.get("metrics").is_none() && fr.get("languages").is_none());
        assert_eq!(settle(definition.clone(), None, "native").unwrap()["prompt"], "a");
        assert!(settle(definition, Some("de"), "native").unwrap_err().contains("it has fr"));
    }

    #[test]
    fn a_name_may_end_with_a_language() {
        let (definition, language) = find("arc-challenge-fr", None, None).unwrap();
        assert_eq!((definition["task"].as_str(), language.as_deref()), (Some("arc-challenge"), Some("fr")));
        assert!(find("arc-challenge-fr", Some("de"), None).is_err());
        assert!(find("no-such-task", None, None).is_err());
    }

    #[test]
    fn every_task_can_be_read_in_every_language_by_every_profile() {
        for Listed { name, languages, .. } in list() {
            for language in std::iter::once(None).chain(languages.iter().map(|code| Some(code.as_str()))) {
                for profile in ["native", "luth", "lm-eval"] {
                    let (raw, _) = find(&name, language, None).unwrap();
                    let settled = settle(raw, language, profile).unwrap();
                    let read: Result<crate::spec::params::TaskDefinition, _> =
                        serde_path_to_error::deserialize(&settled);
                    let definition = read.unwrap_or_else(|error| panic!("{name} {language:?} {profile}: {error}"));
                    assert_eq!(definition.task, name);
                    assert!(!definition.metrics.is_empty(), "{name} {language:?} {profile} has no metrics");
                }
            }
        }
    }
}
