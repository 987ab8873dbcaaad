//! Whether a text looks like text: the rules of Gopher, C4 and FineWeb as datatrove 0.10.1 applies them, and the same rules with
//! thresholds for answers of a chat.
//!
//! Each rule gives datatrove's reason under datatrove's name, with the value it saw and the limit it broke: a drop that
//! cannot say by how much is not a receipt. Where datatrove divides by the words of a text that has none, the reason here
//! is `empty`.

mod c4;
mod fineweb;
mod gopher;
mod profiles;
mod repetition;
mod symbols;

use std::borrow::Cow;
use std::cell::OnceCell;

pub use c4::{C4, C4Paragraphs};
pub use fineweb::FineWeb;
pub use gopher::Gopher;
pub use profiles::{ENGLISH_STOP_WORDS, FRENCH_STOP_WORDS};
pub use repetition::Repetition;
pub use symbols::{Symbols, drop_symbol_lines};

use super::python;
use super::words::Words;

/// A rule that a text broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// datatrove's name of the reason.
    pub rule: Cow<'static, str>,
    /// What was measured.
    pub value: f64,
    /// What it may be at most, or at least.
    pub limit: f64,
}

impl Finding {
    fn new(rule: impl Into<Cow<'static, str>>, value: f64, limit: f64) -> Self {
        Self { rule: rule.into(), value, limit }
    }

    fn empty() -> Self {
        Self::new("empty", 0.0, 1.0)
    }
}

/// A text to be judged, its words found once for all rules.
pub struct Document<'t> {
    /// The text.
    pub text: &'t str,
    cut: Words,
    words: OnceCell<Vec<&'t str>>,
    length: OnceCell<usize>,
}

impl<'t> Document<'t> {
    /// A text and what its words are.
    pub fn new(text: &'t str, cut: Words) -> Self {
        Self { text, cut, words: OnceCell::new(), length: OnceCell::new() }
    }

    /// Its words.
    pub fn words(&self) -> &[&'t str] {
        self.words.get_or_init(|| self.cut.split(self.text))
    }

    /// Its length in code points.
    pub fn length(&self) -> usize {
        *self.length.get_or_init(|| python::len(self.text))
    }
}

/// Families of rules, each with its thresholds or left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// What a word is.
    pub words: Words,
    /// Text that repeats itself.
    pub repetition: Option<Repetition>,
    /// Lines that are no sentences.
    pub fineweb: Option<FineWeb>,
    /// Too short, too long, too few letters.
    pub gopher: Option<Gopher>,
    /// Lines of the web that are no prose. The only family that changes the text it keeps.
    pub c4: Option<C4>,
    /// Too few long lines.
    pub c4_paragraphs: Option<C4Paragraphs>,
}

impl Quality {
    /// The first rule that the text breaks, in FineWeb-2's order; C4's come last.
    pub fn judge(&self, text: &str) -> Option<Finding> {
        let document = Document::new(text, self.words);
        None.or_else(|| self.repetition.as_ref().and_then(|rules| rules.judge(&document)))
            .or_else(|| self.fineweb.as_ref().and_then(|rules| rules.judge(&document)))
            .or_else(|| self.gopher.as_ref().and_then(|rules| rules.judge(&document)))
            .or_else(|| self.c4.as_ref().and_then(|rules| rules.keep(text, self.words).err()))
            .or_else(|| self.c4_paragraphs.as_ref().and_then(|rules| rules.judge(text)))
    }
}

/// A share, of nothing if there is nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
