//! The integration tests: one binary, one module a topic. `tidy` fails if a file is not declared here.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the answer, in its helpers too")]

mod cache;
mod cache_crash;
mod cache_damage;
mod cache_index;
mod tidy;
