//! The settings of steps that change text, and of the plain search for repeated rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StepParams;

/// Brings text to one Unicode form, unifies line ends and drops control characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// The Unicode normalisation form.
    #[serde(default)]
    pub form: UnicodeForm,
}

impl StepParams for Normalize {}

/// A Unicode normalisation form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnicodeForm {
    /// Canonical composition.
    #[default]
    Nfc,
    /// Compatibility composition.
    Nfkc,
}

/// Replaces what a regular expression finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// The regular expression, in the syntax of Rust's `regex`: `(?i)` ignores case, `(?m)` lets `^` match at every line.
    pub pattern: String,
    /// What stands there then; `$1` and `${name}` are what the groups found, `$$` is a dollar sign.
    pub with: String,
    /// Whose messages are changed; everybody's when left out. Rows that are no chats are changed whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl StepParams for Replace {}

/// How repeated rows are recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dedup {
    /// Equal text after normalisation of case and white space; the first row stays.
    #[default]
    Exact,
}

impl StepParams for Dedup {}
