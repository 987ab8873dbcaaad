//! How often the model finds the correct sentence of a pair the likelier one (Linzen et al. 2016, BLiMP).
//!
//! Compared are the sums over all tokens of each sentence, not means: the two differ in a word, and a mean would reward
//! the one that the tokenizer cuts into more pieces. Equal sums count half, so that a model that knows nothing gets 0.5.

use super::{Bench, OpError, Row, Score, passes};
use crate::metrics::statistics;

/// Returns the score, and how many tokens went through the model.
pub(super) fn run(name: &str, rows: &[Row], bench: &Bench<'_>) -> Result<(Score, usize), OpError> {
    let mut sentences = Vec::with_capacity(rows.len() * 2);
    for (place, row) in rows.iter().enumerate() {
        let Row::Pair { good, bad } = row else {
            let message = format!("row {} is a text, not a pair of sentences", place + 1);
            return Err(OpError::new(message).help("rows are `{\"good\": …, \"bad\": …}`"));
        };
        if good.is_empty() || bad.is_empty() {
            return Err(OpError::new(format!("a sentence of row {} is empty", place + 1)));
        }
        sentences.extend([good.as_str(), bad.as_str()]);
    }
    if sentences.is_empty() {
        return Err(OpError::new("there is no pair to score"));
    }
    let scored = passes::score(bench, name, &sentences, |sentence| sentence / 2)?;
    let (pairs, _) = scored.log_probs.as_chunks::<2>();
    let points: Vec<f64> = pairs.iter().map(|[good, bad]| points(*good, *bad)).collect();
    Ok((Score::accuracy(name, statistics::mean(&points), points.len()), scored.tokens))
}

fn points(good: f64, bad: f64) -> f64 {
    match good.total_cmp(&bad) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    }
}
