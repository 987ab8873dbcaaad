//! What stands in a node's settings in a language of its own, and cannot be read: expressions, templates, regular expressions,
//! JSON Schemas, tasks.
//!
//! The settings themselves are read where YAML is (`spec`), which knows none of these languages; what runs a node does. So
//! it is asked before anything starts: a bracket that is missing in the last of ten nodes should not be found after a night.

use super::{OpError, curate, eval, generate, lora};
use crate::spec::params::{Mistake, Op};

/// Returns what cannot be read in the settings of a node.
pub fn unreadable(op: &Op) -> Vec<Mistake> {
    match op {
        Op::Curate(params) => curate::unreadable(params),
        Op::Generate(params) => generate::unreadable(params),
        Op::Eval(params) => eval::unreadable(params),
        Op::ExtractLora(params) => lora::unreadable(params),
        _ => Vec::new(),
    }
}

/// Returns the mistake in a field that an error is about.
pub(super) fn mistake(field: impl Into<String>, error: &OpError) -> Mistake {
    let mistake = Mistake::new(field, error.chain().join(": "));
    match error.way_out() {
        Some(help) => mistake.help(help),
        None => mistake,
    }
}
