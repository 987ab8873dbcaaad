//! The commands, one file each.

pub(super) mod cache;
pub(super) mod chat;
pub(super) mod check;
pub(super) mod completions;
pub(super) mod data;
pub(super) mod diff;
mod estimate;
pub(super) mod eval;
pub(super) mod explain;
pub(super) mod export;
pub(super) mod generate;
pub(super) mod graph;
pub(super) mod lock;
pub(super) mod log;
pub(super) mod merge;
pub(super) mod plan;
pub(super) mod provenance;
mod receipt;
mod references;
pub(super) mod run;
pub(super) mod runs;
pub(super) mod schema;
pub(super) mod show;
pub(super) mod status;
pub(super) mod verify;
