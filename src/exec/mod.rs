//! Running a plan: what is fresh, what has to run and why, in child processes, with typed events for every observer.
//!
//! The scheduler owns all state and is the only loop. Everything around it is a function or a thread that sends it
//! messages: [`decide`] looks into the cache, [`worker`] watches one child process, observers only listen.

pub mod card;
pub mod chain;
pub mod child;
pub mod decide;
pub mod error;
pub mod estimate;
pub mod event;
mod job;
mod launch;
pub mod locked;
pub mod outside;
pub mod provenance;
mod queue;
pub mod resources;
pub mod rounds;
pub mod scheduler;
pub mod select;
mod settle;
pub mod snapshot;
pub mod sources;
pub mod verify;
pub mod worker;

pub use crate::ops::unreadable;
pub use decide::{Decider, Decision, NodeState};
pub use error::ExecError;
pub use event::{Event, Observer};
pub use job::Rehearsed;
pub use resources::Resources;
pub use scheduler::{RunOptions, RunReport, run};
