//! Metrics as pure functions over text: what counts as right, never where it came from or where it goes.

pub mod at_k;
pub mod letters;
#[cfg(test)]
mod lighteval;
pub mod maths;
