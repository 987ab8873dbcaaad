//! `kind: curate`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::CurateParams;

/// Runs the node.
pub(super) fn run(_params: &CurateParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
