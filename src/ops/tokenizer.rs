//! `kind: tokenizer`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::TokenizerParams;

/// Runs the node.
pub(super) fn run(_params: &TokenizerParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
