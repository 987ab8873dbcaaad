//! The language of a text, by one of three detectors.
//!
//! Measured on 7,250 segments of manual pages in seven languages, when a crate still read fastText's models: fastText's
//! lid.176 decides best from 40 characters on; whichlang needs no model and is six times as fast at one per cent less; lingua
//! is as good and twenty times as slow as fastText, and better than both only below 40 characters, where none can be relied on.

use std::path::Path;

use lingua::{LanguageDetector, LanguageDetectorBuilder};

use super::{codes, fasttext};

/// What a detector says.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The label of the model, or the ISO 639-1 code.
    pub label: String,
    /// How sure it is, from 0 to 1. whichlang does not say, and gives 1.
    pub score: f64,
}

impl Guess {
    /// Whether the label names the language with this ISO 639-1 code: `fr`, `fra` and `fra_Latn` all name French. A code with
    /// a script names its own label alone.
    pub fn is(&self, code: &str) -> bool {
        if code.contains('_') {
            return self.label == code;
        }
        let base = self.label.split(['_', '-']).next().unwrap_or_default();
        base == code || codes::names(base, code)
    }
}

/// Finds out in which language a text is.
pub enum Detector {
    /// 16 languages, no model, no score.
    Whichlang,
    /// A model of fastText: lid.176, GlotLID, or any other that names languages. A no-break space is a letter, as in fastText's own
    /// program.
    FastText(Box<fasttext::Model>),
    /// Seven languages of Western Europe, with care for short text.
    Lingua(Box<LanguageDetector>),
}

impl Detector {
    /// Reads a model of fastText (`.bin` or `.ftz`); the error says what is wrong with it.
    pub fn fast_text(path: &Path) -> Result<Self, String> {
        Ok(Self::FastText(Box::new(fasttext::Model::open(path)?)))
    }

    /// lingua, with all languages it was built with.
    pub fn lingua() -> Self {
        Self::Lingua(Box::new(LanguageDetectorBuilder::from_all_languages().build()))
    }

    /// The code that whichlang has for the text, whatever it is.
    pub fn whichlang_of(text: &str) -> &'static str {
        codes::two_letters(whichlang::detect_language(text).three_letter_code())
    }

    /// The language of the text; nothing for a text without letters.
    pub fn detect(&self, text: &str) -> Option<Guess> {
        if !text.contains(char::is_alphabetic) {
            return None;
        }
        match self {
            Detector::Whichlang => Some(Guess { label: Self::whichlang_of(text).to_owned(), score: 1.0 }),
            Detector::FastText(model) => guesses(model, text, 1).next(),
            Detector::Lingua(detector) => {
                let (language, score) = detector.compute_language_confidence_values(text).into_iter().next()?;
                Some(Guess { label: language.iso_code_639_1().to_string().to_lowercase(), score })
            }
        }
    }

    /// How sure the detector is that the text is in the language with this code; 0 if it names another without saying more.
    pub fn score(&self, text: &str, code: &str) -> f64 {
        match self {
            Detector::FastText(model) => {
                guesses(model, text, 10).find(|guess| guess.is(code)).map_or(0.0, |guess| guess.score)
            }
            Detector::Lingua(detector) => {
                let all = detector.compute_language_confidence_values(text);
                let is = |language: &lingua::Language| language.iso_code_639_1().to_string().eq_ignore_ascii_case(code);
                all.into_iter().find(|(language, _)| is(language)).map_or(0.0, |(_, score)| score)
            }
            Detector::Whichlang => self.detect(text).filter(|guess| guess.is(code)).map_or(0.0, |guess| guess.score),
        }
    }
}

/// The likeliest labels of a text, the likeliest first. What is certain comes out a little above 1.
fn guesses(model: &fasttext::Model, text: &str, most: usize) -> impl Iterator<Item = Guess> {
    model.predict(text, most).into_iter().map(|(label, score)| Guess {
        label: label.strip_prefix("__label__").unwrap_or(label).to_owned(),
        score: f64::from(score).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_all_models_are_understood() {
        for label in ["fr", "fra", "fra_Latn"] {
            assert!(Guess { label: label.to_owned(), score: 1.0 }.is("fr"));
        }
        let guess = Guess { label: "zho_Hant".to_owned(), score: 1.0 };
        assert!(guess.is("zho_Hant") && guess.is("zh") && !guess.is("zho_Hans"));
        assert!(!Guess { label: "frr_Latn".to_owned(), score: 1.0 }.is("fr"));
        for (label, code) in
            [("bre_Latn", "br"), ("swh_Latn", "sw"), ("zsm_Latn", "ms"), ("nob_Latn", "no"), ("nob_Latn", "nb")]
        {
            assert!(Guess { label: label.to_owned(), score: 1.0 }.is(code), "{label} is {code}");
        }
        assert!(!Guess { label: "nno_Latn".to_owned(), score: 1.0 }.is("nb"));
    }

    #[test]
    fn the_two_without_models_tell_french() {
        let french = "Le petit garçon marchait lentement vers la maison de sa grand-mère.";
        let english = "The small boy walked slowly towards the house of his grandmother.";
        for detector in [Detector::Whichlang, Detector::lingua()] {
            assert!(detector.detect(french).unwrap().is("fr"));
            assert!(detector.detect(english).unwrap().is("en"));
            assert!(detector.score(french, "fr") > 0.9 && detector.score(english, "fr") < 0.1);
            assert_eq!(detector.detect("12 + 30 = 42"), None);
        }
    }
}
