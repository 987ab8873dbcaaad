//! What can be said about a piece of text, and done to it, without knowing where it came from: words, quality, repair,
//! language, fingerprints. Algorithms over `&str`, each at parity with a reference that its file names.

mod codes;
pub mod conversation;
pub mod fasttext;
mod forms;
pub mod language;
pub mod lists;
pub mod pii;
pub mod plain;
pub mod python;
pub mod quality;
pub mod repair;
pub mod simplify;
pub mod words;

pub use forms::{light, lower, nfc, nfkc};
pub use simplify::{is_punctuation, simplify_into};
