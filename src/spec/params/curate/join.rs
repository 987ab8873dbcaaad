//! The settings of `join`: what another data set knows about a row.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::{FilterMode, StepParams};

/// Gives every row columns of the row of another data set that has the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The other data set. No two of its rows may have one key. The columns that are taken of it are held in memory.
    #[serde(skip_serializing)]
    pub with: InputRef,
    /// The key of a row, as a MiniJinja template over its columns: `{{id}}`. Rows whose key comes out empty find none.
    pub key: String,
    /// The key of a row of the other data set: `{{file | replace('corrige', 'sujet')}}`; as `key` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_key: Option<String>,
    /// The columns that are taken, and what they are called here: `{text: corrige}`.
    pub columns: BTreeMap<String, String>,
    /// What happens to a row for which there is none: it is dropped, or it stays with `null` in these columns.
    #[serde(default, skip_serializing_if = "Unmatched::is_drop")]
    pub unmatched: Unmatched,
}

/// What happens to a row that finds none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It goes.
    #[default]
    Drop,
    /// It stays.
    Keep,
}

impl Unmatched {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_drop(&self) -> bool {
        *self == Self::Drop
    }
}

impl StepParams for Join {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.columns.is_empty() {
            let help = "name a column of the other data set, and what it is called here: `{text: corrige}`";
            mistakes.push(Mistake::new("columns", "no column is taken").help(help));
        }
        let mut taken = std::collections::BTreeSet::new();
        if let Some(twice) = self.columns.values().find(|name| !taken.insert(*name)) {
            mistakes.push(Mistake::new("columns", format!("two columns would be called `{twice}`")));
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        vec![Input::one("with", &self.with, InputType::Dataset)]
    }

    fn filter_mode(&self) -> FilterMode {
        FilterMode::Drop
    }
}
