//! What turns an answer and its reference into a number. Pure functions over text and numbers: no file, no row, no
//! model, so that answers can be judged again without any of them. Each file names the program or paper that it follows.

pub mod at_k;
pub mod compare;
pub mod harness;
pub mod ifeval;
pub mod letters;
#[cfg(test)]
mod lighteval;
pub mod maths;
pub mod pattern;
mod python;
pub mod random;
pub mod record;
pub mod samples;
pub mod scores;
pub mod statistics;
pub mod text;
pub mod verdict;
pub mod viewer;
