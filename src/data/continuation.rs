//! A text and one that goes on behind it, as tokens: where the one ends and the other begins.
//!
//! Both are tokenized together, as a model has read such texts, and the seam is looked for afterwards: white space at the
//! end of the first belongs to the second (words begin with their space), and a token over the seam belongs to it too.

use super::spans::Rendered;
use super::words::Covered;
use super::{DataError, Tokenizer};

/// How the seam is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seam {
    /// In front of the first token that reaches behind the end of the first text.
    Offset,
    /// Behind as many tokens as the first text has alone, as lm-evaluation-harness and lighteval do it; one less if that leaves
    /// nothing.
    Count,
}

/// What comes before everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// What the tokenizer asks for (mostly a beginning-of-sequence token, or nothing), unless the text begins with it.
    Once,
    /// The same, even where the text begins with it already, as lighteval 0.10.0 does it.
    Always,
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joining {
    /// How the seam is found.
    pub seam: Seam,
    /// What comes before everything else.
    pub start: Start,
}

impl Rendered {
    /// Returns a text as it is. With `literal` the names of special tokens in it are text like any other.
    pub fn plain(text: String, literal: bool, tokenizer: &Tokenizer) -> Self {
        let literal = if literal { names_in(&text, tokenizer) } else { Vec::new() };
        Self { text, said: Vec::new(), literal }
    }

    /// Adds words of nobody's control at the end.
    pub fn push(&mut self, text: &str, tokenizer: &Tokenizer) {
        let at = self.text.len();
        self.literal.extend(names_in(text, tokenizer).into_iter().map(|place| at + place));
        self.text.push_str(text);
    }
}

/// Returns where the name of a control token begins.
fn names_in(text: &str, tokenizer: &Tokenizer) -> Vec<usize> {
    if tokenizer.control().is_in(text) {
        // Every place at which one could begin, so that what lies over another is none either.
        text.char_indices().map(|(at, _)| at).collect()
    } else {
        Vec::new()
    }
}

impl Tokenizer {
    /// Returns the tokens of a text that the model is to read.
    pub fn prompt_ids(&self, text: &Rendered, start: Start) -> Result<Vec<u32>, DataError> {
        let ids = self.encode_rendered(&text.text, &text.literal, &[])?.ids;
        Ok(self.with_start(ids, start))
    }

    /// Returns the tokens of a text and of one that goes on behind it. An empty first text is one token, the one that
    /// begins a sequence, or the one that ends it where there is none. The second is never without a token, unless it is empty.
    pub fn joined_ids(
        &self,
        context: &Rendered,
        continuation: &str,
        joining: Joining,
    ) -> Result<(Vec<u32>, Vec<u32>), DataError> {
        let kept = context.text.trim_end().len();
        if kept == 0 {
            let whole = Rendered::plain(format!("{}{continuation}", context.text), true, self);
            let ids = self.encode_rendered(&whole.text, &whole.literal, &[])?.ids;
            let before = self.with_start(Vec::new(), joining.start);
            let start = if before.is_empty() { vec![self.first_token()] } else { before };
            return Ok((start, ids));
        }
        let mut whole = Rendered { text: context.text.clone(), said: vec![], literal: context.literal.clone() };
        whole.push(continuation, self);
        let Covered { ids, ranges } = self.encode_rendered(&whole.text, &whole.literal, &[kept])?;
        let at = match joining.seam {
            Seam::Offset => ranges.iter().take_while(|range| range.end <= kept).count(),
            Seam::Count => {
                let literal: Vec<usize> = context.literal.iter().copied().filter(|at| *at < kept).collect();
                let alone = self.encode_rendered(&context.text[..kept], &literal, &[])?.ids.len();
                if alone >= ids.len() { ids.len().saturating_sub(1) } else { alone }
            }
        };
        let (before, behind) = ids.split_at(at);
        let context = self.with_start(before.to_vec(), joining.start);
        let context = if context.is_empty() { vec![self.first_token()] } else { context };
        Ok((context, behind.to_vec()))
    }

    fn with_start(&self, ids: Vec<u32>, start: Start) -> Vec<u32> {
        let before = self.before();
        if start == Start::Once && ids.starts_with(before) { ids } else { [before, &ids].concat() }
    }

    /// Returns what a text without words in front of it is conditioned on.
    pub fn first_token(&self) -> u32 {
        self.sequence_start().or(self.sequence_end()).unwrap_or_else(|| self.document_start())
    }
}
