//! SentencePiece's BPE: from scores to merges and back.
//!
//! SentencePiece joins the two neighbours whose union has the highest score. A `tokenizer.json` lists pairs in the order
//! they are joined, which follows from the scores: every way to cut a piece into two others, best piece first. The way
//! back gives scores that list the same pairs; where there are none, the merges are not SentencePiece's.

use std::collections::HashMap;

/// A pair to be joined.
pub(super) type Pair = (String, String);

/// Returns the pairs in the order they are joined.
pub(super) fn merges(tokens: &[String], scores: &[f32]) -> Vec<Pair> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut found: Vec<(f32, &str, &str)> = Vec::new();
    for (piece, score) in tokens.iter().zip(scores) {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let mut pairs: Vec<(usize, usize, &str, &str)> =
            cuts.filter_map(|(a, b)| Some((*ids.get(a)?, *ids.get(b)?, a, b))).collect();
        pairs.sort_unstable();
        found.extend(pairs.into_iter().map(|(_, _, a, b)| (*score, a, b)));
    }
    // The order of transformers' converter: best piece first, then the longer first half, then the longer second half.
    let length = |text: &str| text.chars().count();
    found.sort_by(|(x, a, b), (y, c, d)| {
        y.total_cmp(x).then_with(|| length(c).cmp(&length(a))).then_with(|| length(d).cmp(&length(b)))
    });
    found.into_iter().map(|(_, a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// Returns scores that give these merges, if there are any.
pub(super) fn scores(tokens: &[String], merges_wanted: &[Pair]) -> Option<Vec<f32>> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    // What is never joined comes behind everything that is.
    let mut scores = vec![-(tokens.len() as f32); tokens.len()];
    let mut rank = 0.0;
    let mut piece = String::new();
    for (a, b) in merges_wanted {
        let joined = format!("{a}{b}");
        if joined != piece {
            rank -= 1.0;
            piece = joined;
            scores[*ids.get(piece.as_str())?] = rank;
        }
    }
    (merges(tokens, &scores) == merges_wanted).then_some(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn merges_and_scores_give_each_other() {
        let tokens = tokens(&["a", "b", "ab", "aba", "ba", "é", "éa"]);
        let given = merges(&tokens, &[-9.0, -9.0, -1.0, -4.0, -2.0, -9.0, -3.0]);
        let shown: Vec<String> = given.iter().map(|(a, b)| format!("{a} {b}")).collect();
        assert_eq!(shown, ["a b", "b a", "é a", "ab a", "a ba"]);
        let found = scores(&tokens, &given).unwrap();
        assert_eq!(merges(&tokens, &found), given);
    }

    #[test]
    fn merges_that_are_not_sentencepieces_have_no_scores() {
        let tokens = tokens(&["a", "b", "ab", "ba", "aba"]);
        let mut given = merges(&tokens, &[-9.0, -9.0, -1.0, -2.0, -3.0]);
        given.pop();
        assert_eq!(scores(&tokens, &given), None);
        assert_eq!(scores(&tokens, &[("a".into(), "x".into())]), None);
    }
}
