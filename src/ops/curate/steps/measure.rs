//! `count_tokens` and `perplexity`: rows measured by a tokenizer and by a model.

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::data::Tokenizer;
use crate::ops::curate::flow::{Step, Verdict, Why, try_each};
use crate::ops::curate::item::Item;
use crate::ops::curate::tokens::tokens_of;
use crate::ops::eval::TextScorer;
use crate::ops::sft::sequences_of;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{CountTokens, Perplexity};

pub(super) struct TokenCounts {
    settings: CountTokens,
    tokenizer: Tokenizer,
    /// The tokens of all rows that stay.
    lengths: Vec<usize>,
}

impl TokenCounts {
    pub(super) fn new(settings: &CountTokens, at: usize, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let input = cx.inputs.one(&format!("steps[{at}].count_tokens.tokenizer"))?;
        Ok(Self { settings: settings.clone(), tokenizer: Tokenizer::load(&input.path)?, lengths: Vec::new() })
    }
}

impl Step for TokenCounts {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let CountTokens { column, min, max, .. } = &self.settings;
        let judged = try_each(items, |mut item| {
            let tokens = tokens_of(&self.tokenizer, item.row())?;
            item.columns_mut().insert(column.clone(), tokens.into());
            Ok(if min.is_some_and(|least| tokens < least) {
                Verdict::Drop(item, Why::of_rule("too_few_tokens", format!("{tokens} tokens are too few")))
            } else if max.is_some_and(|most| tokens > most) {
                Verdict::Drop(item, Why::of_rule("too_many_tokens", format!("{tokens} tokens are too many")))
            } else {
                Verdict::Keep(item)
            })
        })?;
        let tokens = |verdict: &Verdict| match verdict {
            Verdict::Keep(item) => item.columns().get(column)?.as_u64(),
            _ => None,
        };
        self.lengths.extend(judged.iter().filter_map(tokens).map(|tokens| tokens as usize));
        Ok(judged)
    }

    fn figures(&self) -> Option<Value> {
        let mut sorted = self.lengths.clone();
        sorted.par_sort_unstable();
        let at = |share: f64| sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied();
        let tokens: usize = sorted.iter().sum();
        let mut figures = json!({
            "tokens": tokens,
            "median": at(0.5),
            "p95": at(0.95),
            "longest": sorted.last(),
        });
        if let Some(room) = self.settings.sequence_len {
            let fitting: Vec<usize> = sorted.iter().copied().filter(|length| *length <= room).collect();
            let sequences = sequences_of(&fitting, room);
            let filled = fitting.iter().sum::<usize>() as f64 / (sequences * room).max(1) as f64;
            figures["packed"] = json!({
                "sequence_len": room,
                "sequences": sequences,
                "filled": (filled * 1e4).round() / 1e4,
                "rows_too_long": sorted.len() - fitting.len(),
            });
        }
        Some(figures)
    }
}

pub(super) struct KeepLikely<'a> {
    settings: Perplexity,
    scorer: TextScorer<'a>,
}

impl<'a> KeepLikely<'a> {
    pub(super) fn new(settings: &Perplexity, at: usize, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let input = cx.inputs.one(&format!("steps[{at}].perplexity.model"))?;
        Ok(Self { settings: settings.clone(), scorer: TextScorer::load(&input.path, settings.max_length, cx)? })
    }
}

impl Step for KeepLikely<'_> {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let texts: Vec<String> = items.iter().map(|item| item.row().text().into_owned()).collect();
        let bits = self.scorer.bits_per_byte(&texts)?;
        let Perplexity { column, min, max, .. } = &self.settings;
        let judge = |(mut item, bits): (Item, Option<f64>)| {
            let Some(bits) = bits else {
                return Verdict::Drop(item, Why::of_rule("empty", "there is no text to score"));
            };
            // Six digits: what is behind them differs between vector units.
            let shown = (bits * 1e6).round() / 1e6;
            item.columns_mut().insert(column.clone(), shown.into());
            if min.is_some_and(|least| shown < least) {
                Verdict::Drop(item, Why::of_rule("too_likely", format!("{shown:.3} bits a byte are too few")))
            } else if max.is_some_and(|most| shown > most) {
                Verdict::Drop(item, Why::of_rule("too_unlikely", format!("{shown:.3} bits a byte are too many")))
            } else {
                Verdict::Keep(item)
            }
        };
        Ok(items.into_iter().zip(bits).map(judge).collect())
    }
}
