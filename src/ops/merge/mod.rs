//! `kind: merge`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::MergeParams;

/// Runs the node.
pub(super) fn run(_params: &MergeParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
