//! Cuts texts into windows, fills forward passes with them, and adds up what the model says about each text.
//!
//! Windows don't overlap, and each begins anew behind `<|endoftext|>`: every token is scored once, and the first tokens
//! of a later window are scored with less context than they had in the text. lm-eval's rolling log-likelihood differs
//! in one thing: it puts the last token of the window before in front of a later window, where here stands
//! `<|endoftext|>`. For texts that fit into one pass, nearly all of them, there is no difference.
//!
//! The order of the rows has no influence on a score, not even on its last bit: windows are sorted before they are
//! packed, so the same set of texts always makes the same passes.

use std::collections::BTreeSet;

use super::{Bench, OpError};
use crate::model::Packed;

/// A text, or the part of one that fits into a forward pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    ids: Vec<u32>,
    text: usize,
}

/// What the model says about texts.
pub(super) struct Scored {
    /// `ln P` of each text.
    pub(super) log_probs: Vec<f64>,
    /// Tokens that went through the model.
    pub(super) tokens: usize,
}

/// Returns the log-probability of each text. `row` says which row of the data a text is from, counted from 0.
pub(super) fn score(
    bench: &Bench<'_>,
    name: &str,
    texts: &[&str],
    row: impl Fn(usize) -> usize,
) -> Result<Scored, OpError> {
    let windows = windows(bench, texts, &row)?;
    let tokens: usize = windows.iter().map(|window| window.ids.len()).sum();
    bench.cx.progress.phase(&format!("scoring {name}"), Some(tokens as u64), "tokens");
    let mut log_probs = vec![0.0; texts.len()];
    let mut done = 0;
    for pass in fill(&windows, bench.max_length) {
        bench.cx.check_cancelled()?;
        let packed = Packed {
            ids: pass.iter().flat_map(|window| &windows[*window].ids).copied().collect(),
            lengths: pass.iter().map(|window| windows[*window].ids.len()).collect(),
        };
        let answers = bench.scorer.log_probs(&packed)?;
        if answers.len() != packed.ids.len() {
            let (got, wanted) = (answers.len(), packed.ids.len());
            return Err(OpError::new(format!("the model gave {got} log-probabilities for {wanted} tokens")));
        }
        let mut rest = &answers[..];
        for window in pass {
            let (own, others) = rest.split_at(windows[window].ids.len());
            rest = others;
            let text = windows[window].text;
            if own.iter().any(|log_prob| !log_prob.is_finite()) {
                let message = format!("the model gives row {} a probability that is zero or undefined", row(text) + 1);
                return Err(OpError::new(message).help("its weights may hold numbers that are not finite"));
            }
            log_probs[text] += own[1..].iter().map(|log_prob| f64::from(*log_prob)).sum::<f64>();
        }
        done += packed.ids.len();
        bench.cx.progress.position(done as u64);
    }
    Ok(Scored { log_probs, tokens })
}

/// Returns the windows of all texts, longest first. A text without tokens is an error: nothing would be scored, and its
/// bytes would count as if the model had known them.
fn windows(bench: &Bench<'_>, texts: &[&str], row: impl Fn(usize) -> usize) -> Result<Vec<Window>, OpError> {
    if bench.max_length < 2 {
        return Err(OpError::new(format!("`max_length` {} leaves no token to predict", bench.max_length)));
    }
    let mut windows = Vec::with_capacity(texts.len());
    for (text, content) in texts.iter().enumerate() {
        let tokens = bench.encoder.encode(content)?;
        if tokens.is_empty() {
            let message = format!("the tokenizer makes no token of the text in row {}", row(text) + 1);
            return Err(OpError::new(message).help("drop such rows in a `curate` node"));
        }
        for piece in tokens.chunks(bench.max_length - 1) {
            let ids = std::iter::once(bench.encoder.start()).chain(piece.iter().copied()).collect();
            windows.push(Window { ids, text });
        }
    }
    windows.sort_by(|left, right| right.ids.len().cmp(&left.ids.len()).then_with(|| left.cmp(right)));
    Ok(windows)
}

/// Puts each window into the pass where it leaves the least room, longest first. Returns the windows of each pass.
fn fill(windows: &[Window], max_length: usize) -> Vec<Vec<usize>> {
    let mut passes: Vec<Vec<usize>> = Vec::new();
    let mut by_room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (window, Window { ids, .. }) in windows.iter().enumerate() {
        let (room, pass) = by_room.range((ids.len(), 0)..).next().copied().unwrap_or((max_length, passes.len()));
        by_room.remove(&(room, pass));
        by_room.insert((room - ids.len(), pass));
        if pass == passes.len() {
            passes.push(Vec::new());
        }
        passes[pass].push(window);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lengths(lengths: &[usize]) -> Vec<Window> {
        lengths.iter().enumerate().map(|(text, length)| Window { ids: vec![0; *length], text }).collect()
    }

    #[test]
    fn passes_are_filled_and_never_overfilled() {
        let windows = of_lengths(&[9, 7, 6, 4, 3, 2, 1]);
        let passes = fill(&windows, 10);
        assert_eq!(passes, [vec![0, 6], vec![1, 4], vec![2, 3], vec![5]]);
    }

    #[test]
    fn each_window_is_in_one_pass() {
        let lengths: Vec<usize> = (0..200).map(|i| 1 + i * 7919 % 50).rev().collect();
        let windows = of_lengths(&lengths);
        let passes = fill(&windows, 50);
        let mut seen: Vec<usize> = passes.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        assert!(passes.iter().all(|pass| pass.iter().map(|window| lengths[*window]).sum::<usize>() <= 50));
    }
}
