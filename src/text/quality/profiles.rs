//! Thresholds by name: datatrove's defaults, FineWeb-2's for French, and ours for answers in French.

use super::{C4, C4Paragraphs, FineWeb, Gopher, Quality, Repetition};
use crate::text::words::Words;

/// Gopher's.
pub const ENGLISH_STOP_WORDS: &[&str] = &["the", "be", "to", "of", "and", "that", "have", "with"];

/// FineWeb-2's for French. The elided ones match only where words are cut after a straight apostrophe.
pub const FRENCH_STOP_WORDS: &[&str] =
    &["de", "la", "le", "et", "à", "en", "l'", "des", "du", "les", "est", "d'", "un", "une", "il", "dans", "par", "au"];

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Default for Repetition {
    /// Gopher's table A1.
    fn default() -> Self {
        Self {
            dup_para_frac: Some(0.3),
            dup_para_char_frac: Some(0.2),
            dup_line_frac: Some(0.3),
            dup_line_char_frac: Some(0.2),
            top_n_grams: vec![(2, 0.2), (3, 0.18), (4, 0.16)],
            dup_n_grams: vec![(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)],
            min_words: 0,
            count_single: true,
        }
    }
}

impl Default for Gopher {
    /// Gopher's, with English stop words.
    fn default() -> Self {
        Self {
            min_words: Some(50),
            max_words: Some(100_000),
            min_mean_length: Some(3.0),
            max_mean_length: Some(10.0),
            max_symbols: Some(0.1),
            max_bullet_lines: Some(0.9),
            max_ellipsis_lines: Some(0.3),
            min_alpha_words: Some(0.8),
            min_stop_words: Some(2),
            stop_words: owned(ENGLISH_STOP_WORDS),
            stop_words_from: 0,
        }
    }
}

impl Default for FineWeb {
    /// FineWeb's for English.
    fn default() -> Self {
        Self {
            min_line_punct: Some(0.12),
            line_punct_exclude_zero: false,
            stop_chars: String::new(),
            max_short_lines: Some(0.67),
            short_line_length: 30,
            max_char_dup: Some(0.01),
            max_new_lines: Some(0.3),
        }
    }
}

impl Quality {
    /// No rule at all.
    pub fn none(words: Words) -> Self {
        Self { words, repetition: None, fineweb: None, gopher: None, c4: None, c4_paragraphs: None }
    }

    /// Gopher's two families.
    pub fn gopher(words: Words) -> Self {
        let (repetition, gopher) = (Some(Repetition::default()), Some(Gopher::default()));
        Self { repetition, gopher, ..Self::none(words) }
    }

    /// C4's, with French endings and phrases.
    pub fn c4(words: Words) -> Self {
        Self { c4: Some(C4::french()), ..Self::none(words) }
    }

    /// mC4's rule on paragraphs alone.
    pub fn c4_paragraphs(words: Words) -> Self {
        Self { c4_paragraphs: Some(C4Paragraphs::default()), ..Self::none(words) }
    }

    /// FineWeb-2's filters for French (`fra_Latn`), tuned on spaCy's words.
    pub fn fineweb2_fr() -> Self {
        Self {
            repetition: Some(Repetition {
                dup_para_frac: None,
                dup_para_char_frac: None,
                dup_line_frac: Some(0.264),
                dup_line_char_frac: None,
                top_n_grams: vec![(2, 0.161), (3, 0.149), (4, 0.134)],
                dup_n_grams: vec![(5, 0.15), (6, 0.141), (7, 0.131), (8, 0.121), (9, 0.111), (10, 0.1)],
                ..Repetition::default()
            }),
            fineweb: Some(FineWeb {
                min_line_punct: Some(0.1),
                max_short_lines: None,
                max_char_dup: Some(0.1),
                max_new_lines: Some(0.185),
                ..FineWeb::default()
            }),
            gopher: Some(Gopher {
                min_mean_length: Some(2.0),
                max_mean_length: Some(11.0),
                min_alpha_words: Some(0.812),
                stop_words: owned(FRENCH_STOP_WORDS),
                ..Gopher::default()
            }),
            ..Self::none(Words::SpacyFr)
        }
    }

    /// For answers in French: they may be three words, code, a list or a formula. Text that repeats itself still goes.
    pub fn sft_fr() -> Self {
        let web = Self::fineweb2_fr();
        Self {
            repetition: web.repetition.map(|rules| Repetition {
                dup_line_frac: Some(0.3),
                min_words: 100,
                count_single: false,
                ..rules
            }),
            gopher: Some(Gopher {
                min_words: Some(3),
                max_words: Some(8000),
                min_mean_length: Some(2.0),
                max_mean_length: Some(14.0),
                max_symbols: None,
                max_bullet_lines: None,
                max_ellipsis_lines: Some(0.3),
                min_alpha_words: None,
                min_stop_words: Some(2),
                stop_words: owned(FRENCH_STOP_WORDS),
                stop_words_from: 30,
            }),
            ..Self::none(Words::SpacyFr)
        }
    }
}
