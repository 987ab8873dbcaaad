//! Words of a text, by one of three definitions.
//!
//! Thresholds that count words mean nothing without the definition: on real French text spaCy finds a fifth more than white
//! space does. So the definition is always named, and FineWeb-2's thresholds come with the one they were tuned on.

mod class;
mod french;
mod rules;
mod sentences;
#[rustfmt::skip]
mod tables;
mod whole;

use unicode_segmentation::UnicodeSegmentation as _;

pub use sentences::count as count_sentences;

use super::python;

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// What lies between white space.
    Whitespace,
    /// Unicode's words (UAX 29): runs of letters and digits, an apostrophe inside a word part of it, punctuation left out.
    Uax29,
    /// The tokens of spaCy's blank French tokenizer: elisions, punctuation and hyphenated pronouns stand alone.
    SpacyFr,
}

impl Words {
    /// Appends the words of `text` to `out`.
    pub fn split_into<'t>(self, text: &'t str, out: &mut Vec<&'t str>) {
        match self {
            Words::Whitespace => out.extend(python::split(text)),
            Words::Uax29 => out.extend(text.unicode_words()),
            Words::SpacyFr => {
                let words = french::tokens(text).into_iter().map(|(start, end)| &text[start..end]);
                out.extend(words.filter(|word| !word.starts_with(python::is_space)));
            }
        }
    }

    /// The words of `text`.
    pub fn split(self, text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        self.split_into(text, &mut words);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_cut() {
        let text = "L'été, peut-être ; 10 km. Qu'est-ce (l'eau) M. A-t-il dit-il…";
        assert_eq!(Words::Whitespace.split(text).len(), 10);
        assert_eq!(Words::Uax29.split(text).len(), 14);
        let tokens = "L'|été|,|peut-être|;|10|km|.|Qu'|est|-ce|(|l'|eau|)|M.|A|-t|-il|dit|-il|…";
        assert_eq!(Words::SpacyFr.split(text), tokens.split('|').collect::<Vec<_>>());
    }

    proptest::proptest! {
        /// However odd the text, its words are its characters, in order.
        #[test]
        fn nothing_is_lost(text in r"(\PC|[a-zA-Z0-9 .,éÉ’'…()=:;$%°\-\n\t]){0,40}") {
            let joined: String = Words::SpacyFr.split(&text).concat();
            let plain: String = text.chars().filter(|c| !python::is_space(*c)).collect();
            proptest::prop_assert_eq!(joined, plain);
        }
    }
}
