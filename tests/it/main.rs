//! All integration tests, in one binary: a second one would link everything again.

mod curate;
mod data;
mod op;
