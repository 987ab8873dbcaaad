//! What the user wrote. Pure: text in, values and diagnostics out.
//!
//! A pipeline file passes three stages, each with its own type: a [`document::Document`] is YAML whose every value
//! knows its place in the text; a [`Pipeline`] has names, parameters, axes and nodes, still with `${…}` in them; an
//! [`params::Op`] is one node's settings at one point of the sweep, typed and complete. Mistakes are collected on the
//! way rather than returned at the first one, so that a user sees all of a file's mistakes at once.
//!
//! From text to [`Pipeline`]: `file` reads one file, `include` and `load` put several together and choose the `profile`,
//! `overrides` adds the command line, `combine` settles which combinations are meant, `search` adds searched axes.

pub mod bind;
mod combine;
pub mod diagnostic;
pub mod document;
pub mod env;
pub mod execution;
pub mod expression;
mod file;
pub mod include;
mod load;
pub mod lock;
pub mod merge_file;
mod merge_reference;
mod overrides;
pub mod params;
pub mod parse;
pub mod path;
pub mod pipeline;
mod profile;
pub mod schema;
pub mod search;
pub mod substitute;
pub mod suggest;
pub mod sweep;
pub mod tasks;
mod tree;
mod unreadable;

pub use diagnostic::{Diagnostic, Place};
pub use execution::{Execution, Needs};
pub use include::SourceFile;
pub use parse::{Overrides, Parsed, parse, parse_files};
pub use pipeline::{Axis, Exclude, NodeSpec, Pipeline, Zip};
