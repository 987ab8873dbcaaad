//! `kind: sft`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::SftParams;

/// Runs the node.
pub(super) fn run(_params: &SftParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
