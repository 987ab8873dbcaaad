//! The settings of `check_answers`: what the messages of a chat must not hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Mistake;
use super::StepParams;

/// Checks what is said, rule by rule. Rows that are no chats are asked only what can be asked of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckAnswers {
    /// Each `<think>` needs its `</think>`.
    pub think_tags: RuleMode,
    /// Each fence of code must be closed.
    pub fences: RuleMode,
    /// Formulas and environments of LaTeX must be closed.
    pub latex: RuleMode,
    /// The last answer must not end within a sentence.
    pub truncated: RuleMode,
    /// No answer may refuse: "je ne peux pas vous aider".
    pub refusal: RuleMode,
    /// No answer may speak of itself as a machine: "en tant que modèle de langage".
    pub machine: RuleMode,
    /// No prompt may ask for another language than this one (ISO 639-1).
    pub language: String,
    /// What happens to prompts that do.
    pub other_language: RuleMode,
    /// No answer may repeat its prompt.
    pub echo: RuleMode,
    /// The share of an answer's runs of three words that the prompt has, from which it repeats it.
    pub echo_from: f64,
    /// No answer may repeat itself without end.
    pub looping: RuleMode,
    /// The share of an answer's words in runs of ten that were there before, from which it does.
    pub looping_from: f64,
}

impl Default for CheckAnswers {
    fn default() -> Self {
        use RuleMode::{Drop, Flag, Off};
        Self {
            think_tags: Drop,
            fences: Drop,
            latex: Flag,
            truncated: Flag,
            refusal: Flag,
            machine: Flag,
            language: "fr".to_owned(),
            other_language: Off,
            echo: Drop,
            echo_from: 0.9,
            looping: Drop,
            looping_from: 0.3,
        }
    }
}

impl StepParams for CheckAnswers {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (field, share) in [("echo_from", self.echo_from), ("looping_from", self.looping_from)] {
            if !(share > 0.0 && share <= 1.0) {
                mistakes.push(Mistake::new(field, "a share is above 0 and at most 1"));
            }
        }
        if self.language.len() != 2 || !self.language.bytes().all(|byte| byte.is_ascii_lowercase()) {
            mistakes.push(Mistake::new("language", "not an ISO 639-1 code").help("write `fr` or `en`"));
        }
        mistakes
    }
}

/// What happens to a row that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// Nothing is asked.
    Off,
    /// It is dropped.
    Drop,
    /// It stays, and the rule is added to its column `flags`.
    Flag,
}
