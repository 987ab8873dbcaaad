//! `kind: report`.

use super::{OpCx, OpError, Outcome};
use crate::spec::params::ReportParams;

/// Runs the node.
pub(super) fn run(_params: &ReportParams, _cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    Err(OpError::new("being built"))
}
