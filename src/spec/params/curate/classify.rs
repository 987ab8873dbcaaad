//! The settings of `classify`: rows kept or dropped by the labels of a model of fastText.
//!
//! One of `keep` and `remove`, as in datatrove: with both, a row that has a label of each would be anybody's guess. Two steps say
//! what is meant.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::{FilterMode, StepParams};

/// Keeps or drops rows by the labels that a model of fastText gives them: how good, of what kind, about what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classify {
    /// The node with the model: a folder with one `.ftz` or `.bin` file that gives labels.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// Rows stay that have one of these labels, each with the least score that is enough: `{hq: 0.5}`. Labels are written without
    /// `__label__`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keep: BTreeMap<String, f64>,
    /// Rows go that have one of these labels, each with the least score that is enough; instead of `keep`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remove: BTreeMap<String, f64>,
    /// Whose messages are judged, all together; everybody's when left out. Rows that are no chats are judged whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What the end of a line within the text is to the model, which reads one line.
    #[serde(default, skip_serializing_if = "LineEnd::is_space")]
    pub line_end: LineEnd,
    /// A column for the score of the label, where there is just one; 0 where the model does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What happens to the other rows.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

impl Classify {
    /// The labels that decide, whichever way.
    pub fn labels(&self) -> &BTreeMap<String, f64> {
        if self.keep.is_empty() { &self.remove } else { &self.keep }
    }
}

impl StepParams for Classify {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        match (self.keep.is_empty(), self.remove.is_empty()) {
            (true, true) => {
                let help = "write `keep: {hq: 0.5}`: a label, and the least score that is enough";
                mistakes.push(Mistake::new("", "neither `keep` nor `remove` has a label").help(help));
            }
            (false, false) => {
                let help = "write a step for each";
                mistakes.push(Mistake::new("remove", "`keep` and `remove` cannot be in one step").help(help));
            }
            _ => {}
        }
        for (field, labels) in [("keep", &self.keep), ("remove", &self.remove)] {
            for (label, least) in labels {
                if !(0.0..=1.0).contains(least) {
                    mistakes.push(Mistake::new(format!("{field}.{label}"), "not between 0 and 1"));
                }
                if let Some(bare) = label.strip_prefix("__label__") {
                    let message = "labels are written without `__label__`";
                    mistakes.push(Mistake::new(format!("{field}.{label}"), message).help(format!("write `{bare}`")));
                }
            }
        }
        if self.column.is_some() && self.labels().len() > 1 {
            let help = "write a step for each label, with a column of its own";
            mistakes.push(Mistake::new("column", "a column holds the score of one label").help(help));
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        vec![Input::one("model", &self.model, InputType::Any)]
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// What the end of a line within a text is to a model that reads one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    /// A space, as in DCLM's use of its classifier.
    #[default]
    Space,
    /// Nothing: the last word of a line and the first of the next are one word. datatrove does this when nothing else is asked for.
    Nothing,
}

impl LineEnd {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_space(&self) -> bool {
        *self == LineEnd::Space
    }
}
