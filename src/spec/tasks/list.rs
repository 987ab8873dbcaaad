//! The tasks that come with the program.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::languages;
use crate::spec::document::Document;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("builtin/", $name, ".yaml")))),*]
    };
}

const FILES: &[(&str, &str)] = &files![
    "aime24",
    "arc-challenge",
    "bac",
    "bbh",
    "belebele",
    "blimp",
    "boolq",
    "clams",
    "exams",
    "frenchmedmcqa",
    "global-mmlu",
    "gpqa-diamond",
    "gsm8k",
    "hellaswag",
    "ifeval",
    "kholle",
    "lambada",
    "m-ifeval",
    "math-500",
    "mgsm",
    "mmlu",
    "multiblimp",
    "musr",
    "qfrblimp",
    "truthfulqa",
    "truthfulqa-mc2",
    "xnli",
    "xwinograd",
];

/// The words of each language.
const WORDS: &str = include_str!("words.yaml");

/// Read once. A file that cannot be read is not there; a test reads them all.
static TASKS: LazyLock<BTreeMap<&str, Value>> =
    LazyLock::new(|| FILES.iter().filter_map(|(name, text)| Some((*name, read(text)?))).collect());

static WORDS_READ: LazyLock<Value> = LazyLock::new(|| read(WORDS).unwrap_or_default());

fn read(text: &str) -> Option<Value> {
    Document::read(text).ok().map(|document| document.value)
}

/// A task of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it measures.
    pub about: String,
    /// The languages that it has.
    pub languages: Vec<String>,
    /// Where its rows are.
    pub dataset: String,
}

/// Returns all tasks, by name.
pub fn list() -> Vec<Listed> {
    let listed = |(name, task): (&&str, &Value)| Listed {
        name: (*name).to_owned(),
        about: task["about"].as_str().unwrap_or_default().to_owned(),
        languages: languages(task).into_iter().map(str::to_owned).collect(),
        dataset: task["source"]["dataset"].as_str().unwrap_or_default().to_owned(),
    };
    TASKS.iter().map(listed).collect()
}

/// Returns every name that a task can be called by.
pub fn names() -> Vec<String> {
    let with_languages = |task: Listed| {
        let of = task.languages.iter().map(|language| format!("{}-{language}", task.name)).collect::<Vec<_>>();
        std::iter::once(task.name).chain(of)
    };
    list().into_iter().flat_map(with_languages).collect()
}

/// Returns a task as its file has it.
pub(super) fn text(name: &str) -> Option<Value> {
    TASKS.get(name).cloned()
}

/// Returns the words of a language.
pub(super) fn words(language: &str) -> Option<Value> {
    WORDS_READ.get(language).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_read() {
        for (name, text) in FILES {
            let document = Document::read(text).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            assert_eq!(document.value["task"].as_str(), Some(*name));
        }
        assert!(read(WORDS).is_some());
    }
}
