//! The language of a text, by one of three detectors.
//!
//! Measured on 7,250 segments of manual pages in seven languages: fastText's lid.176 decides best from 40 characters on;
//! whichlang needs no model and is six times as fast at one per cent less; lingua is as good and twenty times as slow as
//! fastText, and better than both only below 40 characters, where none can be relied on.

use std::io::Read;
use std::path::Path;

use fasttext_pure_rs::FastText;
use lingua::{LanguageDetector, LanguageDetectorBuilder};

use super::codes;

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

/// As much of a model's file as [`words_together`] looks at.
const HEAD: usize = 32;

/// Returns how many words a model reads together. The reader of models takes the hashes of words as numbers without a sign,
/// where fastText extends the sign, so every other n-gram of words would be another one. It hashes inside `predict` and shows neither
/// rows nor dictionary, so this cannot be put right from here: it takes a reader of the whole file.
fn words_together(head: &[u8]) -> Option<i32> {
    const MAGIC: i32 = 793_712_314;
    let number = |at: usize| Some(i32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    // The magic number, the version, and then dim, ws, epoch, minCount and neg.
    (number(0)? == MAGIC).then(|| number(28)).flatten()
}

/// Finds out in which language a text is.
pub enum Detector {
    /// 16 languages, no model, no score.
    Whichlang,
    /// A model of fastText: lid.176, GlotLID, or any other that names languages. White space of any kind ends a word; fastText's
    /// own program knows ASCII's alone, and takes the no-break spaces of French for letters.
    FastText(Box<FastText>),
    /// Seven languages of Western Europe, with care for short text.
    Lingua(Box<LanguageDetector>),
}

impl Detector {
    /// Reads a model of fastText (`.bin` or `.ftz`); the error says what is wrong with it.
    pub fn fast_text(path: &Path) -> Result<Self, String> {
        let mut file = fs_err::File::open(path).map_err(|error| error.to_string())?;
        let mut head = Vec::new();
        (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(|error| error.to_string())?;
        if let Some(words) = words_together(&head).filter(|words| *words > 1) {
            let why =
                format!("it reads {words} words together (`wordNgrams`), which is not done here as fastText does it");
            return Err(format!("{}: {why}; models of single words and of characters are read", path.display()));
        }
        let model = FastText::load_from_reader(std::io::BufReader::new(head.as_slice().chain(file)));
        let failed = |error| format!("{}: not a model of fastText that can be read: {error}", path.display());
        Ok(Self::FastText(Box::new(model.map_err(failed)?)))
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
            Detector::FastText(model) => {
                // A line feed would end fastText's line.
                let line = text.replace('\n', " ");
                let best = model.predict(&line, 1, 0.0).ok()?.into_iter().next()?;
                let label = best.label.strip_prefix("__label__").unwrap_or(&best.label).to_owned();
                Some(Guess { label, score: f64::from(best.probability).min(1.0) })
            }
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
                let line = text.replace('\n', " ");
                let all = model.predict(&line, 10, 0.0).unwrap_or_default();
                let guess = |prediction: fasttext_pure_rs::Prediction| Guess {
                    label: prediction.label.trim_start_matches("__label__").to_owned(),
                    score: f64::from(prediction.probability).min(1.0),
                };
                all.into_iter().map(guess).find(|guess| guess.is(code)).map_or(0.0, |guess| guess.score)
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
