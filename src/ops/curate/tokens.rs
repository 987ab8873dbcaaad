//! Tokens of rows: what `count_tokens` measures, and what every step's counts have where the node names a tokenizer.
//!
//! Tokenizing takes longer than most steps. So an item remembers its number and a hash of what it was counted of: it is
//! tokenized again only when a step changed what it says, however many steps there are and whether it waited on disk or not.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::flow::Verdict;
use super::item::{Item, Tokens};
use super::row_hash::content_hash;
use crate::data::{Ending, Row, TOKENIZER_FILES, Tokenizer};
use crate::digest::file_digest;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{CurateParams, FilterMode};

const DOMAIN: &str = "luthflow curate tokens 1";

/// Returns how many tokens a row is to a training; of a preference the longer chat.
pub(super) fn tokens_of(tokenizer: &Tokenizer, row: &Row) -> Result<usize, OpError> {
    let counted = match row {
        Row::Chat(chat) => tokenizer.chat_ids(chat, Ending::Whole)?.len(),
        Row::Preference(both) => {
            let chosen = tokenizer.chat_ids(&both.chosen, Ending::Whole)?.len();
            chosen.max(tokenizer.chat_ids(&both.rejected, Ending::Whole)?.len())
        }
        row => as_text(tokenizer, row)?,
    };
    Ok(counted)
}

/// Behind every text stands the token that ends it.
fn as_text(tokenizer: &Tokenizer, row: &Row) -> Result<usize, OpError> {
    Ok(tokenizer.encode(&row.text())?.len() + 1)
}

/// Counts the tokens of items between steps.
pub(super) struct TokenCounter {
    tokenizer: Tokenizer,
    /// The digests of its files, for what is kept from one run to the next.
    pub(super) files: Value,
}

impl TokenCounter {
    /// Loads the tokenizer that the node names, if it names one.
    pub(super) fn load(params: &CurateParams, cx: &OpCx<'_>) -> Result<Option<Self>, OpError> {
        if params.tokenizer.is_none() {
            return Ok(None);
        }
        let dir = &cx.inputs.one("tokenizer")?.path;
        let mut files = Vec::new();
        for name in TOKENIZER_FILES {
            let path = dir.join(name);
            if path.is_file() {
                let (digest, _) =
                    file_digest(&path).map_err(|error| OpError::caused("cannot digest the tokenizer", error))?;
                files.push(json!([name, digest.hex()]));
            }
        }
        Ok(Some(Self { tokenizer: Tokenizer::load(dir)?, files: files.into() }))
    }

    /// Counts the tokens of all items that have changed since they were counted.
    pub(super) fn count(&self, items: &mut [Item]) -> Result<(), OpError> {
        let all: Vec<Result<(), OpError>> = items.par_iter_mut().map(|item| self.count_one(item)).collect();
        all.into_iter().collect()
    }

    /// Counts the tokens of what comes out of a step.
    pub(super) fn count_kept(&self, verdicts: &mut [Verdict], mode: FilterMode) -> Result<(), OpError> {
        let count = |verdict: &mut Verdict| match verdict {
            Verdict::Keep(item) | Verdict::Change(item) | Verdict::Flag(item, _) => self.count_one(item),
            Verdict::Become(items) => items.iter_mut().try_for_each(|item| self.count_one(item)),
            Verdict::Drop(item, _) if mode == FilterMode::Flag => self.count_one(item),
            Verdict::Drop(..) => Ok(()),
        };
        let all: Vec<Result<(), OpError>> = verdicts.par_iter_mut().map(count).collect();
        all.into_iter().collect()
    }

    fn count_one(&self, item: &mut Item) -> Result<(), OpError> {
        let known = item.tokens();
        if known.is_some_and(|known| !known.stale) {
            return Ok(());
        }
        let tokens = match item.to_row() {
            // Columns that are no row yet say nothing that a model would read.
            None => Tokens::default(),
            Some(row) => {
                let hash = content_hash(DOMAIN, 0, row.to_json().as_bytes());
                match known.filter(|known| known.of == Some(hash)) {
                    Some(known) => Tokens { stale: false, ..known },
                    None => self.tokens(&row, hash)?,
                }
            }
        };
        item.counted(tokens);
        Ok(())
    }

    /// A chat that its template refuses, as one that a later step is to repair, is counted by what its messages say.
    fn tokens(&self, row: &Row, hash: u64) -> Result<Tokens, OpError> {
        let counted = tokens_of(&self.tokenizer, row);
        let refused = counted.is_err();
        let count = counted.or_else(|_| as_text(&self.tokenizer, row))? as u64;
        Ok(Tokens { count, refused, of: Some(hash), stale: false })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn counter() -> TokenCounter {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny");
        TokenCounter { tokenizer: Tokenizer::load(&dir).unwrap(), files: Value::Null }
    }

    #[test]
    fn a_row_is_counted_again_only_when_it_says_something_else() {
        let (counter, mut item) = (counter(), Item::from(Row::Text("la mer".into())));
        let count = |item: &mut Item| {
            counter.count(std::slice::from_mut(item)).unwrap();
            item.tokens().unwrap().count
        };
        let real = count(&mut item);
        assert_eq!(real, tokens_of(&counter.tokenizer, item.row()).unwrap() as u64);
        // A number that no tokenizer finds shows where it was not counted again.
        let wrong = |item: &mut Item| item.counted(Tokens { count: 999, ..item.tokens().unwrap() });
        wrong(&mut item);
        assert_eq!(count(&mut item), 999);
        item.columns_mut().insert("lang".into(), "fr".into());
        item.unshape();
        item.columns_mut().insert("tokens".into(), 3.into());
        let _ = item.shape();
        let _ = item.row_mut();
        assert_eq!(count(&mut item), 999, "it says the same");
        let mut line = Vec::new();
        item.to_line(&mut line);
        assert_eq!(count(&mut Item::from_line(&line).unwrap()), 999, "it waited on disk");
        *item.row_mut() = Row::Text("la mer grise".into());
        assert_eq!(count(&mut item), tokens_of(&counter.tokenizer, item.row()).unwrap() as u64);
        wrong(&mut item);
        item.unshape();
        item.columns_mut().insert("text".into(), "la mer".into());
        assert_eq!(count(&mut item), real);
        item.columns_mut().remove("text");
        assert_eq!(count(&mut item), 0, "it is no row");
    }
}
