//! `dpo:`: learning which of two answers is better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::params::InputRef;

/// Direct preference optimisation (Rafailov et al. 2023) over rows with `chosen` and `rejected`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DpoSettings {
    /// How much the model is held to the reference: the greater, the more.
    #[serde(default = "default_beta")]
    pub beta: f64,
    /// The share of pairs that are taken to be the wrong way round (conservative DPO, Mitchell 2023).
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub label_smoothing: f64,
    /// The model to compare with; the one the training starts from if nothing is said.
    #[serde(default, skip_serializing)]
    pub reference: Option<InputRef>,
}

fn default_beta() -> f64 {
    0.1
}
