//! `kind: eval`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::EvalParams;

/// Runs the node.
pub(super) fn run(_params: &EvalParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
