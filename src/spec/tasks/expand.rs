//! Names of tasks replaced by what they mean, once parameters are filled in and before settings are typed.
//!
//! What cannot be replaced is left as it is, and told with its place when the settings are checked.

use serde_json::{Map, Value, json};

use super::{find, settle};
use crate::spec::params::TaskSource;

/// The entries that are no names.
pub(super) const IN_PLACE: [&str; 2] = ["bits_per_byte", "minimal_pairs"];

/// Fills the definitions into the tasks of an eval.
pub(in crate::spec) fn expand_eval(fields: &mut Value) {
    let profile = fields.get("profile").and_then(Value::as_str).unwrap_or("native").to_owned();
    let Some(tasks) = fields.get_mut("tasks").and_then(Value::as_array_mut) else { return };
    for entry in tasks {
        if let Some((key, settings)) = named(entry)
            && let Some(filled) = fill(&key, settings, &profile)
        {
            *entry = Value::Object(Map::from_iter([(key, filled)]));
        }
    }
}

/// Returns the name and the settings of an entry that names a task.
pub(super) fn named(entry: &Value) -> Option<(String, Map<String, Value>)> {
    match entry {
        Value::String(name) => Some((name.clone(), Map::new())),
        Value::Object(entry) if entry.len() == 1 => {
            let (key, settings) = entry.iter().next()?;
            let settings = match settings {
                Value::Object(settings) => settings.clone(),
                Value::Null => Map::new(),
                _ => return None,
            };
            (!IN_PLACE.contains(&key.as_str())).then(|| (key.clone(), settings))
        }
        _ => None,
    }
}

fn fill(key: &str, mut settings: Map<String, Value>, profile: &str) -> Option<Value> {
    let language = settings.get("language").and_then(Value::as_str);
    let (raw, of_name) = find(key, language, settings.get("define")).ok()?;
    let mut definition = settle(raw, of_name.as_deref(), profile).ok()?;
    forget_the_unscored(&mut definition);
    if !settings.contains_key("name") {
        let name = match language {
            Some(language) => format!("{key}-{language}"),
            None => key.to_owned(),
        };
        settings.insert("name".to_owned(), name.into());
    }
    settings.insert("definition".to_owned(), definition);
    Some(Value::Object(settings))
}

/// Takes away the question that says nothing where no metric is about it: it would be asked once for each choice.
fn forget_the_unscored(definition: &mut Value) {
    let is_about_it = |metric: &Value| metric.get("metric").unwrap_or(metric) == "acc_mutual_info";
    let metrics = definition.get("metrics").and_then(Value::as_array);
    if metrics.is_some_and(|metrics| !metrics.iter().any(is_about_it))
        && let Some(choices) = definition.pointer_mut("/request/choices").and_then(Value::as_object_mut)
    {
        choices.shift_remove("unconditioned");
    }
}

/// Fills in where the rows of a source are that names a task.
pub(in crate::spec) fn expand_source(fields: &mut Value) {
    let word = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(task) = word("task") else { return };
    if word("dataset").is_some() {
        return;
    }
    let profile = word("profile").unwrap_or_else(|| "native".to_owned());
    let Some(source) = source(&task, word("language").as_deref(), &profile) else { return };
    let split = if word("part").as_deref() == Some("examples") { source.examples } else { source.split };
    let Some(fields) = fields.as_object_mut() else { return };
    fields.insert("dataset".to_owned(), source.dataset.into());
    for (name, value) in [("config", source.config), ("split", split)] {
        if let Some(value) = value
            && !fields.contains_key(name)
        {
            fields.insert(name.to_owned(), json!(value));
        }
    }
}

/// Returns where the rows of a task are.
pub(super) fn source(task: &str, language: Option<&str>, profile: &str) -> Option<TaskSource> {
    let (raw, language) = find(task, language, None).ok()?;
    let definition = settle(raw, language.as_deref(), profile).ok()?;
    serde_json::from_value(definition.get("source")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_that_says_nothing_is_asked_where_it_is_scored() {
        let written = |profile: &str, metrics: &Value| {
            let define = json!({
                "source": {"dataset": "rows.jsonl"},
                "prompt": "{{question}}",
                "request": {"choices": {"list": "choices", "gold": "gold", "unconditioned": "Answer:"}},
                "metrics": ["acc", {"metric": "acc_mutual_info", "name": "pmi"}],
                "profiles": {"lm-eval": {"metrics": metrics}},
            });
            let mut eval = json!({"profile": profile, "tasks": [{"mine": {"define": define}}]});
            expand_eval(&mut eval);
            eval.pointer("/tasks/0/mine/definition/request/choices/unconditioned").is_some()
        };
        assert!(written("native", &json!(["acc"])));
        assert!(written("lm-eval", &json!(["acc_mutual_info"])));
        assert!(!written("lm-eval", &json!(["acc", {"metric": "acc_norm"}])));
        for (profile, asked) in [("native", true), ("lm-eval", false), ("luth", false)] {
            let mut eval = json!({"profile": profile, "tasks": ["arc-challenge"]});
            expand_eval(&mut eval);
            let definition = eval.pointer("/tasks/0/arc-challenge/definition/request/choices").unwrap();
            assert_eq!(definition.get("unconditioned").is_some(), asked, "{profile}");
        }
    }
}
