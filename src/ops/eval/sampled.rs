//! What became of one row of a task. The types are pure and stand with the judges, where the terminal finds them too.

pub(in crate::ops) use crate::metrics::samples::{Likely, Sampled, Written};
