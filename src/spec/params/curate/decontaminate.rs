//! The settings of `decontaminate`: no row may give away what a model is to be examined on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::{FilterMode, StepParams};

/// Drops rows that hold items of evaluation sets, found by the n-grams of words that they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decontaminate {
    /// The evaluation sets: names of eval tasks (`mmlu-fr`), or blocks of settings.
    #[schemars(schema_with = "sets")]
    pub evals: Vec<EvalSet>,
    /// When a row counts as contaminated.
    #[serde(default)]
    pub method: ContaminationMethod,
    /// How many words an n-gram has; 8, 12 for `datatrove` and 13 for `gpt3`, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ngram: Option<usize>,
    /// For `coverage`: which share of an item's words must lie in n-grams that a row has too.
    #[serde(default = "half")]
    pub min_coverage: f64,
    /// Items with fewer words than an n-gram must be found whole; those with fewer words than this are passed over.
    #[serde(default = "four")]
    pub min_eval_words: usize,
    /// For `coverage`: n-grams that a greater share of the rows has (and at least ten rows) are how people write, and say
    /// nothing.
    #[serde(default = "thousandth")]
    pub common_share: f64,
    /// For `gpt3`: how many characters go on either side of a shared n-gram; 200 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// For `gpt3`: pieces must have more characters than this; 200 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_piece: Option<usize>,
    /// For `gpt3`: a text that falls into more pieces goes whole; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pieces: Option<usize>,
    /// The node fails if a greater share of some evaluation set's items is found: then the data set itself is in question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_if_over: Option<f64>,
    /// What happens to rows that are contaminated.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

/// An evaluation set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalSet {
    /// The data set with its items.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<InputRef>")]
    pub node: InputRef,
    /// The eval task whose rows they are, in place of `node` and `name`.
    #[serde(default, skip_serializing)]
    pub task: Option<String>,
    /// The language of the `task`, where it has several.
    #[serde(default, skip_serializing)]
    pub language: Option<String>,
    /// What it is called in the report.
    #[schemars(with = "Option<String>")]
    pub name: String,
    /// The columns with what an item asks; a column may hold a list of texts. When left out: what the item says if it is
    /// prose, a chat or a pair, and else every column that is text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The column with the answer, for `datatrove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// When a row counts as contaminated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContaminationMethod {
    /// The n-grams that it shares with an item cover enough of the item (Tülu 3).
    #[default]
    Coverage,
    /// It shares one n-gram with an item (Open R1).
    AnyNgram,
    /// GPT-3's way: of a plain text that shares an n-gram with an item, the n-gram and the characters around it are cut out,
    /// and each piece that is left is a row. n-grams that more than ten rows have count for nothing, and items with fewer
    /// words than an n-gram are passed over. What is no plain text goes whole.
    #[serde(rename = "gpt3")]
    Gpt3,
    /// It shares one n-gram with an item's answer, or with the seam between question and answer (datatrove).
    Datatrove,
}

fn sets(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let set = generator.subschema_for::<EvalSet>();
    schemars::json_schema!({"type": "array", "items": {"anyOf": [{"type": "string"}, set]}})
}

fn half() -> f64 {
    0.5
}

fn four() -> usize {
    4
}

fn thousandth() -> f64 {
    0.001
}

impl Decontaminate {
    /// Returns how many words an n-gram has.
    pub fn words(&self) -> usize {
        self.ngram.unwrap_or(match self.method {
            ContaminationMethod::Coverage | ContaminationMethod::AnyNgram => 8,
            ContaminationMethod::Datatrove => 12,
            ContaminationMethod::Gpt3 => 13,
        })
    }
}

impl StepParams for Decontaminate {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |field: &str, message: &str| mistakes.push(Mistake::new(field, message));
        if self.evals.is_empty() {
            wrong("evals", "there is no evaluation set to compare with");
        }
        if self.ngram == Some(0) {
            wrong("ngram", "an n-gram has at least one word");
        }
        let shares = [
            ("min_coverage", Some(self.min_coverage)),
            ("common_share", Some(self.common_share)),
            ("fail_if_over", self.fail_if_over),
        ];
        for (field, share) in shares {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                wrong(field, "a share is between 0 and 1");
            }
        }
        let of_cuts = [("window", self.window), ("min_piece", self.min_piece), ("max_pieces", self.max_pieces)];
        for (field, _) in of_cuts.into_iter().filter(|(_, given)| given.is_some()) {
            if self.method != ContaminationMethod::Gpt3 {
                wrong(field, "only `method: gpt3` cuts texts");
            }
        }
        if self.max_pieces == Some(0) {
            wrong("max_pieces", "a text has at least one piece");
        }
        for (i, set) in self.evals.iter().enumerate() {
            let needs_answer = self.method == ContaminationMethod::Datatrove;
            if needs_answer != set.answer.is_some() {
                let message = if needs_answer {
                    "`method: datatrove` needs the column with the answer"
                } else {
                    "only `method: datatrove` uses an answer"
                };
                wrong(&format!("evals[{i}].answer"), message);
            }
            if needs_answer && set.fields.is_empty() {
                wrong(&format!("evals[{i}].fields"), "`method: datatrove` needs the columns with the question");
            }
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        self.evals
            .iter()
            .enumerate()
            .map(|(i, set)| Input::one(format!("evals[{i}].node"), &set.node, InputType::Dataset))
            .collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}
