//! What can be said about a piece of text, and done to it, without knowing where it came from: words, quality, repair,
//! language, fingerprints. Algorithms over `&str`, each at parity with a reference that its file names.

pub mod simplify;

pub use simplify::simplify_into;
