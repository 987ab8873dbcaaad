//! The settings of `check_messages`: is it a conversation that a model can learn from?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Mistake;
use super::{FilterMode, StepParams};

/// Checks who speaks when, repairs what can be repaired, and drops the other chats. Rows that are no chats pass.
///
/// Repairs come first, in the order of their fields; then every rule must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each one is a rule or a repair of its own")]
pub struct CheckMessages {
    /// White space around messages goes.
    #[serde(default = "yes")]
    pub trim: bool,
    /// Messages that say nothing (and call no tool) go.
    #[serde(default)]
    pub drop_empty: bool,
    /// Messages of one role in a row become one, with an empty line between.
    #[serde(default)]
    pub merge_consecutive: bool,
    /// What stands before the first message of a `first` role goes.
    #[serde(default)]
    pub drop_leading: bool,
    /// What stands behind the last message of the `last` role goes.
    #[serde(default)]
    pub drop_trailing: bool,
    /// The roles that may occur.
    #[serde(default = "known_roles")]
    pub roles: Vec<String>,
    /// The roles that may begin.
    #[serde(default = "beginners")]
    pub first: Vec<String>,
    /// The role that ends; any when `null`.
    #[serde(default = "assistant")]
    pub last: Option<String>,
    /// Whether, but for system and tool messages, user and assistant take turns.
    #[serde(default = "yes")]
    pub alternate: bool,
    /// The fewest messages, without the system's.
    #[serde(default = "two")]
    pub min_turns: usize,
    /// The most messages, without the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<usize>,
    /// Whether every message says something or calls a tool.
    #[serde(default = "yes")]
    pub non_empty: bool,
    /// Whether no message may hold the name of a control token: `<|im_end|>`, `</s>`, `<start_of_turn>`, ….
    #[serde(default = "yes")]
    pub no_control_tokens: bool,
    /// What happens to other chats.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn yes() -> bool {
    true
}

fn two() -> usize {
    2
}

fn known_roles() -> Vec<String> {
    ["system", "user", "assistant", "tool"].map(str::to_owned).into()
}

fn beginners() -> Vec<String> {
    ["system", "user"].map(str::to_owned).into()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn assistant() -> Option<String> {
    Some("assistant".to_owned())
}

impl StepParams for CheckMessages {
    fn mistakes(&self) -> Vec<Mistake> {
        let crossed = self.max_turns.filter(|max| *max < self.min_turns);
        let message = |max| format!("no chat has at least {} and at most {max} turns", self.min_turns);
        crossed.map(|max| Mistake::new("max_turns", message(max))).into_iter().collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}
