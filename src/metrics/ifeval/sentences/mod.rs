//! Sentences and words as NLTK 3.9.1 splits them, because IFEval counts what NLTK counts: Punkt (Kiss and Strunk 2006)
//! with the models that NLTK trained, and its Treebank words.

mod model;
mod punkt;
mod tokens;
mod treebank;

pub use model::Model;
pub use punkt::sentences;
pub use treebank::words;
