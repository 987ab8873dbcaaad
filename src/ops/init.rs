//! `kind: init`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::InitParams;

/// Runs the node.
pub(super) fn run(_params: &InitParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
