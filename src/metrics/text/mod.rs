//! Answers against references: exact matches, shared words, shared runs of words or letters, and choices by likelihood.

pub mod bleu;
pub mod choice;
pub mod chrf;
pub mod exact;
pub mod f1;
mod normal;

pub use normal::{Articles, helm, quasi, squad};

#[cfg(test)]
mod tests;
