//! What the user wrote. Pure: text in, values and diagnostics out.
//!
//! A pipeline file passes three stages, each with its own type: a [`document::Document`] is YAML whose every value
//! knows its place in the text; a [`Pipeline`] has names, parameters, axes and nodes, still with `${…}` in them; an
//! [`params::Op`] is one node's settings at one point of the sweep, typed and complete. Mistakes are collected on the
//! way rather than returned at the first one, so that a user sees all of a file's mistakes at once.

pub mod bind;
pub mod diagnostic;
pub mod document;
pub mod execution;
pub mod expression;
pub mod lock;
pub mod merge_file;
pub mod params;
pub mod parse;
pub mod path;
pub mod pipeline;
pub mod schema;
pub mod substitute;
pub mod suggest;
pub mod sweep;

pub use diagnostic::Diagnostic;
pub use execution::{Execution, Needs};
pub use parse::{Overrides, Parsed, parse};
pub use pipeline::{Axis, NodeSpec, Pipeline};
