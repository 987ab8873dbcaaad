//! GPT-3's way with a contaminated text: what is around a shared n-gram is cut out, and the pieces between stay.
//!
//! Words are those of the text, in lower case and without punctuation (Brown et al. 2020, appendix C); what is left of no
//! word is none. Windows that meet are one. A text that falls into more pieces than may be, or of which no piece is long
//! enough, is gone whole.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::spec::params::Decontaminate;
use crate::text::is_punctuation;

/// How a text is cut, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// How much goes on either side of a shared n-gram.
    pub(super) window: usize,
    /// How long a piece must be.
    pub(super) min_piece: usize,
    /// How many pieces there may be.
    pub(super) max_pieces: usize,
}

impl Cut {
    pub(super) fn of(settings: &Decontaminate) -> Self {
        Self {
            window: settings.window.unwrap_or(200),
            min_piece: settings.min_piece.unwrap_or(200),
            max_pieces: settings.max_pieces.unwrap_or(10),
        }
    }

    /// Returns what stays of a text out of which the windows around these places go; nothing if it is too dirty.
    pub(super) fn pieces<'a>(self, text: &'a str, places: &[Range<usize>]) -> Vec<&'a str> {
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let chars = starts.len() - 1;
        let mut windows: Vec<Range<usize>> = Vec::new();
        for place in places {
            let char_at = |byte: usize| starts.partition_point(|start| *start < byte);
            let from = char_at(place.start).saturating_sub(self.window);
            let to = char_at(place.end).saturating_add(self.window).min(chars);
            match windows.last_mut().filter(|last| last.end >= from) {
                Some(last) => last.end = last.end.max(to),
                None => windows.push(from..to),
            }
        }
        let ends = windows.iter().map(|window| window.start).chain([chars]);
        let begins = [0].into_iter().chain(windows.iter().map(|window| window.end));
        let pieces: Vec<Range<usize>> =
            begins.zip(ends).map(|(from, to)| from..to).filter(|piece| !piece.is_empty()).collect();
        if pieces.len() > self.max_pieces {
            return Vec::new();
        }
        let long = pieces.into_iter().filter(|piece| piece.len() > self.min_piece);
        long.map(|piece| &text[starts[piece.start]..starts[piece.end]]).collect()
    }
}

/// A text's words in the form in which they are compared, one space between, and the place of each in bytes.
pub(super) fn words(text: &str) -> (String, Vec<Range<usize>>) {
    let (mut plain, mut places) = (String::with_capacity(text.len()), Vec::new());
    for word in text.split_whitespace() {
        let begin = plain.len();
        if !places.is_empty() {
            plain.push(' ');
        }
        let before = plain.len();
        let kept = word.chars().filter(|c| !c.is_ascii_punctuation() && !is_punctuation(*c));
        plain.extend(kept.flat_map(char::to_lowercase));
        if plain.len() == before {
            plain.truncate(begin);
            continue;
        }
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        places.push(at..at + word.len());
    }
    (plain, places)
}

/// The hashes of words with one space between.
pub(super) fn hashes(plain: &str) -> Vec<u64> {
    plain.split(' ').filter(|word| !word.is_empty()).map(|word| xxh3_64(word.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_know_their_places() {
        let text = "  L'Été, — dit-il !\nOUI";
        let (plain, places) = words(text);
        assert_eq!(plain, "lété ditil oui");
        let found: Vec<&str> = places.into_iter().map(|place| &text[place]).collect();
        assert_eq!(found, ["L'Été,", "dit-il", "OUI"]);
    }

    #[test]
    fn windows_that_meet_are_one_and_short_pieces_go() {
        let cut = Cut { window: 2, min_piece: 2, max_pieces: 3 };
        let text = "éa34567890123456789";
        let at = |chars: Range<usize>| chars.start + usize::from(chars.start > 0)..chars.end + 1;
        assert_eq!(cut.pieces(text, &[at(6..7), at(9..10)]), ["éa34", "3456789"]);
        assert_eq!(cut.pieces(text, &[at(3..4), at(14..15)]), ["789012"]);
        assert_eq!(Cut { max_pieces: 1, ..cut }.pieces(text, &[at(6..7)]), [""; 0]);
        assert_eq!(cut.pieces(text, &[]), [text]);
    }

    proptest! {
        #[test]
        fn nothing_near_a_place_stays(text in "[aé ]{0,60}", at in proptest::collection::vec(0usize..60, 0..4), window in 0usize..9) {
            let cut = Cut { window, min_piece: 0, max_pieces: 99 };
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let mut chars: Vec<usize> = at.into_iter().filter(|at| *at + 1 < starts.len()).collect();
            chars.sort_unstable();
            let places: Vec<Range<usize>> = chars.iter().map(|at| starts[*at]..starts[at + 1]).collect();
            let kept: String = cut.pieces(&text, &places).concat();
            let near = |char: &usize| chars.iter().any(|at| char.abs_diff(*at) <= window);
            let wanted: String = text.chars().enumerate().filter(|(at, _)| !near(at)).map(|(_, c)| c).collect();
            prop_assert_eq!(kept, wanted);
        }
    }
}
