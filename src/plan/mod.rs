//! What a pipeline means: node instances, their order, their keys, and why a key changed. Pure.

mod averages;
mod gaussian;
pub mod graph;
pub mod key;
mod outputs;
mod points;
pub mod resolve;
pub mod search;
pub mod select;
pub mod stale;

pub use graph::{Artifacts, Instance, InstanceId, Plan, Slot};
pub use key::{InputPart, KeyParts};
pub use resolve::resolve;
pub use stale::StaleReason;
