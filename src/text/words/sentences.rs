//! How many sentences a text has, as spaCy's rule-based splitter counts them: one ends where something that is not
//! punctuation follows a full stop or its like.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;
use unicode_general_category::{GeneralCategory as G, get_general_category};

use super::french;
use super::tables::PUNCT_CHARS;

static ENDS: LazyLock<FxHashSet<&str>> = LazyLock::new(|| PUNCT_CHARS.iter().copied().collect());

fn is_punctuation(token: &str) -> bool {
    token.chars().all(|c| {
        use G::{
            ClosePunctuation, ConnectorPunctuation, DashPunctuation, FinalPunctuation, InitialPunctuation,
            OpenPunctuation, OtherPunctuation,
        };
        matches!(
            get_general_category(c),
            ClosePunctuation
                | ConnectorPunctuation
                | DashPunctuation
                | FinalPunctuation
                | InitialPunctuation
                | OpenPunctuation
                | OtherPunctuation
        )
    })
}

/// The number of sentences of a French text; an empty one has one.
pub fn count(text: &str) -> usize {
    let (mut sentences, mut ended) = (1, false);
    for (start, end) in french::tokens(text) {
        let token = &text[start..end];
        if ENDS.contains(token) {
            ended = true;
        } else if ended && !is_punctuation(token) {
            sentences += 1;
            ended = false;
        }
    }
    sentences
}
