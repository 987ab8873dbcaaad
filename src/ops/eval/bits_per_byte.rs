//! How many bits the model needs for a byte of text: `-log2 P(text) / bytes`, over all texts together.
//!
//! The bytes are those of the text in UTF-8, so models with different tokenizers can be compared. A chat is scored as
//! plain text: the contents of its messages, one after the other with a line feed between, without roles or template.
//! Of two answers the better one is scored. Texts without a byte count for nothing.

use super::{Bench, OpError, Row, Score, passes};
use crate::metrics::statistics;

/// Returns the score, and how many tokens went through the model.
pub(super) fn run(name: &str, rows: &[Row], bench: &Bench<'_>) -> Result<(Score, usize), OpError> {
    let mut texts = Vec::with_capacity(rows.len());
    let mut places = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        let text = match row {
            Row::Text(_) | Row::Chat(_) | Row::Preference(_) => row.text(),
            Row::Pair { .. } => {
                let message = format!("row {} is a pair of sentences, not a text", place + 1);
                return Err(OpError::new(message).help("score it with `minimal_pairs`"));
            }
        };
        if !text.is_empty() {
            texts.push(text);
            places.push(place);
        }
    }
    if texts.is_empty() {
        return Err(OpError::new("there is no text to score"));
    }
    let contents: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let scored = passes::score(bench, name, &contents, |text| places[text])?;
    let bits = scored.log_probs.iter().map(|log_prob| -log_prob / std::f64::consts::LN_2);
    let pairs: Vec<(f64, f64)> = bits.zip(&texts).map(|(bits, text)| (bits, text.len() as f64)).collect();
    Ok((Score::bits_per_byte(name, statistics::ratio(&pairs, None), pairs.len()), scored.tokens))
}
