//! Instructions as data sets write them: an id and its settings. What the references would draw at random or trip over
//! is an error here, before any answer is judged.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use thiserror::Error;

use super::super::python::{self, pattern};
use super::Rules;
use super::kinds::{self, Keyword, Kind, Relation, Tongue};

/// What is wrong with an instruction.
#[derive(Debug, Error)]
pub enum Fault {
    /// No such kind.
    #[error("`{0}` is not a kind of instruction; IFEval's are written as `punctuation:no_comma`, M-IFEval's as `fr:…`")]
    Kind(String),
    /// A setting is missing, for which the reference would draw a value at random.
    #[error("`{id}` needs `{setting}`: {expected}")]
    Setting {
        /// The instruction's id.
        id: String,
        /// The setting's name.
        setting: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A keyword that is no pattern.
    #[error("`{id}` has `{text}`, which is not a regular expression, as which the reference reads it: {source}")]
    Pattern {
        /// The instruction's id.
        id: String,
        /// The keyword.
        text: String,
        /// Why not.
        source: regex::Error,
    },
}

/// One instruction of a prompt, ready to judge answers.
#[derive(Debug, Clone)]
pub struct Instruction {
    kind: Kind,
    tongue: Tongue,
    rules: Rules,
}

impl Instruction {
    /// Reads an instruction: an id of IFEval (`keywords:existence`) or of M-IFEval (`en:keywords:existence`,
    /// `fr:special_character:accents`) and its settings, of which those that are null, zero or empty do not count.
    pub fn read(id: &str, settings: &Map<String, Value>, rules: Rules) -> Result<Self, Fault> {
        let (tongue, name) = match (id.strip_prefix("fr:"), id.strip_prefix("en:")) {
            (Some(name), _) => (Tongue::French, name),
            (None, Some(name)) => (Tongue::English, name),
            (None, None) => (Tongue::English, id),
        };
        let reader = Reader { id, settings };
        let kind = match reader.kind(name)? {
            Some(kind) => Some(kind),
            None if tongue == Tongue::French => reader.french(name)?,
            None => reader.english(name),
        };
        Ok(Self { kind: kind.ok_or_else(|| Fault::Kind(id.to_owned()))?, tongue, rules })
    }

    /// Says whether an answer follows the instruction.
    pub fn is_followed(&self, answer: &str) -> bool {
        kinds::is_followed(&self.kind, self.tongue, self.rules, answer)
    }
}

struct Reader<'a> {
    id: &'a str,
    settings: &'a Map<String, Value>,
}

impl Reader<'_> {
    /// The kinds that both languages have.
    fn kind(&self, name: &str) -> Result<Option<Kind>, Fault> {
        Ok(Some(match name {
            "keywords:existence" => Kind::Keywords(self.keywords("keywords")?),
            "keywords:frequency" => Kind::KeywordFrequency(
                self.keyword(python::strip(self.text("keyword")?))?,
                self.relation("relation", "frequency")?,
            ),
            "keywords:forbidden_words" => Kind::ForbiddenWords(self.keywords("forbidden_words")?),
            "keywords:letter_frequency" => {
                Kind::LetterFrequency(self.letter()?, self.relation("let_relation", "let_frequency")?)
            }
            "language:response_language" => Kind::ResponseLanguage(self.text("language")?.to_owned()),
            "length_constraints:number_sentences" => Kind::Sentences(self.relation("relation", "num_sentences")?),
            "length_constraints:number_paragraphs" => {
                Kind::Paragraphs(Relation::Exactly(self.number("num_paragraphs")?))
            }
            "length_constraints:number_words" => Kind::Words(self.relation("relation", "num_words")?),
            "length_constraints:nth_paragraph_first_word" => self.first_word()?,
            "detectable_content:number_placeholders" => {
                Kind::Placeholders(Relation::AtLeast(self.number("num_placeholders")?))
            }
            "detectable_content:postscript" => self.postscript()?,
            "detectable_format:number_bullet_lists" => Kind::Bullets(Relation::Exactly(self.number("num_bullets")?)),
            "detectable_format:constrained_response" => Kind::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Kind::Highlights(Relation::AtLeast(self.number("num_highlights")?))
            }
            "detectable_format:multiple_sections" => self.sections()?,
            "detectable_format:json_format" => Kind::Json,
            "detectable_format:title" => Kind::Title,
            "combination:two_responses" => Kind::TwoResponses,
            "combination:repeat_prompt" => {
                Kind::RepeatPrompt(python::strip(self.text("prompt_to_repeat")?).to_lowercase())
            }
            "startend:end_checker" => Kind::EndPhrase(python::strip(self.text("end_phrase")?).to_lowercase()),
            "startend:quotation" => Kind::Quotation,
            "change_case:capital_word_frequency" => {
                Kind::CapitalWords(self.relation("capital_relation", "capital_frequency")?)
            }
            "punctuation:no_comma" => Kind::NoComma,
            _ => return Ok(None),
        }))
    }

    #[expect(clippy::unused_self, reason = "stands beside `french`")]
    fn english(&self, name: &str) -> Option<Kind> {
        match name {
            "change_case:english_capital" => Some(Kind::AllCapital),
            "change_case:english_lowercase" => Some(Kind::AllLower),
            _ => None,
        }
    }

    fn french(&self, name: &str) -> Result<Option<Kind>, Fault> {
        Ok(Some(match name {
            "change_case:french_capital" => Kind::AllCapital,
            "change_case:french_lowercase" => Kind::AllLower,
            "special_character:ethel_or_cedilla" => Kind::NoCharacter(self.text("forbidden_char")?.to_owned()),
            "special_character:no_accents" => Kind::NoAccents,
            "special_character:accents" => {
                let Some(Value::Object(words)) = self.setting("word_to_accentuate") else {
                    return Err(self.fault("word_to_accentuate", "words without accents, each with the right form"));
                };
                let word = |(plain, right): (&String, &Value)| Some((plain.clone(), right.as_str()?.to_owned()));
                Kind::Accents(words.iter().filter_map(word).collect())
            }
            "detectable_content:informal_address" => Kind::Informal,
            "detectable_content:no_digits" => Kind::NoDigits,
            _ => return Ok(None),
        }))
    }

    /// A setting that Python takes as true.
    fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get(name).filter(|value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Bool(true) => true,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
        })
    }

    fn fault(&self, setting: &'static str, expected: &'static str) -> Fault {
        Fault::Setting { id: self.id.to_owned(), setting, expected }
    }

    fn text(&self, name: &'static str) -> Result<&str, Fault> {
        self.setting(name).and_then(Value::as_str).ok_or_else(|| self.fault(name, "a text"))
    }

    fn number(&self, name: &'static str) -> Result<f64, Fault> {
        let number = self.setting(name).and_then(Value::as_f64).filter(|number| *number >= 0.0);
        number.ok_or_else(|| self.fault(name, "a number above zero"))
    }

    fn relation(&self, name: &'static str, limit: &'static str) -> Result<Relation, Fault> {
        let number = self.number(limit)?;
        match self.text(name)? {
            "less than" | "moins de" => Ok(Relation::LessThan(number)),
            "at least" | "au moins" => Ok(Relation::AtLeast(number)),
            _ => Err(self.fault(name, "`less than` or `at least`, in French `moins de` or `au moins`")),
        }
    }

    fn letter(&self) -> Result<String, Fault> {
        let letter = self.text("letter")?;
        let one = letter.chars().count() == 1;
        if one { Ok(letter.to_lowercase()) } else { Err(self.fault("letter", "one letter")) }
    }

    fn keywords(&self, name: &'static str) -> Result<Vec<Keyword>, Fault> {
        let words = self.setting(name).and_then(Value::as_array).ok_or_else(|| self.fault(name, "a list of words"))?;
        let text = |word: &Value| match word.as_str() {
            Some(word) => self.keyword(word),
            None => Err(self.fault(name, "a list of words")),
        };
        words.iter().map(text).collect()
    }

    fn keyword(&self, word: &str) -> Result<Keyword, Fault> {
        let fault = |source| Fault::Pattern { id: self.id.to_owned(), text: word.to_owned(), source };
        let build = |source: &str| RegexBuilder::new(source).case_insensitive(true).build().map_err(fault);
        let escaped = regex::escape(word);
        let literal = build(&escaped)?;
        // Compiling costs more than searching, and most keywords are plain words.
        if escaped == word {
            return Ok(Keyword { pattern: literal.clone(), literal });
        }
        let source = pattern(word).map_err(fault)?.as_str().to_owned();
        Ok(Keyword { pattern: build(&source)?, literal })
    }

    fn pattern(&self, source: &str) -> Result<Regex, Fault> {
        pattern(source).map_err(|fault| Fault::Pattern {
            id: self.id.to_owned(),
            text: source.to_owned(),
            source: fault,
        })
    }

    fn first_word(&self) -> Result<Kind, Fault> {
        let paragraphs = self.number("num_paragraphs")?;
        let nth = self.number("nth_paragraph")?;
        if nth < 1.0 || nth > paragraphs {
            return Err(self.fault("nth_paragraph", "a number from 1 to `num_paragraphs`"));
        }
        let paragraphs = Relation::Exactly(paragraphs);
        Ok(Kind::FirstWord { paragraphs, nth: nth as usize, word: self.text("first_word")?.to_lowercase() })
    }

    fn postscript(&self) -> Result<Kind, Fault> {
        let marker = python::strip(self.text("postscript_marker")?);
        let source = match marker {
            "P.P.S" => r"(?m)\s*p\.\s?p\.\s?s.*$".to_owned(),
            "P.S." => r"(?m)\s*p\.\s?s\..*$".to_owned(),
            _ => format!(r"(?m)\s*{}.*$", marker.to_lowercase()),
        };
        Ok(Kind::Postscript { pattern: self.pattern(&source)?, marker: marker.to_lowercase() })
    }

    fn sections(&self) -> Result<Kind, Fault> {
        let word = python::strip(self.text("section_spliter")?);
        Ok(Kind::Sections {
            pattern: self.pattern(&format!(r"\s?{word}\s?\d+\s?"))?,
            literal: self.pattern(&format!(r"(?mi)^[\s#*_]*{}\s*\d+", regex::escape(word)))?,
            count: Relation::AtLeast(self.number("num_sections")?),
        })
    }
}
