//! `kind: source`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::SourceParams;

/// Runs the node.
pub(super) fn run(_params: &SourceParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
