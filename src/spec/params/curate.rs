//! `kind: curate`: rows in, fewer and better rows out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Filters, cleans and splits rows, step by step, with a count of rows in and out of every step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateParams {
    /// The data sets to read, one after the other.
    #[serde(skip_serializing)]
    pub from: Vec<InputRef>,
    /// What happens to the rows, in this order.
    #[serde(default)]
    pub steps: Vec<CurateStep>,
}

/// One step of curation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CurateStep {
    /// Brings text to one Unicode form and tidies white space.
    Normalize(Normalize),
    /// Drops rows that are too short or too long.
    Length(Length),
    /// Keeps rows in the given languages.
    Language(Language),
    /// Drops rows that repeat an earlier one.
    Dedup(Dedup),
    /// Keeps a reproducible random sample.
    Sample(Sample),
    /// Sets a part aside for evaluation; must be the last step.
    Split(Split),
}

/// Brings text to one Unicode form, unifies line ends and drops control characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// The Unicode normalisation form.
    #[serde(default)]
    pub form: UnicodeForm,
}

/// A Unicode normalisation form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnicodeForm {
    /// Canonical composition.
    #[default]
    Nfc,
    /// Compatibility composition.
    Nfkc,
}

/// Bounds on the text of a row; a chat counts the text of all its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// The fewest characters a row may have.
    #[serde(default)]
    pub min_chars: Option<usize>,
    /// The most characters a row may have.
    #[serde(default)]
    pub max_chars: Option<usize>,
}

/// Keeps rows whose language, as whichlang sees it, is one of `keep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// ISO 639-1 codes of the languages to keep.
    pub keep: Vec<LanguageCode>,
}

/// A language that the detector tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the codes are ISO 639-1")]
pub enum LanguageCode {
    Ar,
    De,
    En,
    Es,
    Fr,
    Hi,
    It,
    Ja,
    Ko,
    Nl,
    Pt,
    Ru,
    Sv,
    Tr,
    Vi,
    Zh,
}

/// How repeated rows are recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dedup {
    /// Equal text after normalisation of case and white space; the first row stays.
    #[default]
    Exact,
}

/// Keeps a reproducible random sample, in the rows' own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many rows to keep; all of them if there are fewer.
    pub rows: usize,
    /// What decides which rows are kept.
    #[serde(default)]
    pub seed: u64,
}

/// Sets a part of the rows aside. Each row is placed by a hash of its own content, so rows added later move no other row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The share of rows, between 0 and 1, that becomes `NODE.eval`; the rest becomes `NODE.train`.
    pub eval: f64,
    /// What decides which rows are set aside.
    #[serde(default)]
    pub seed: u64,
}

impl CurateParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "curate";

    /// Returns the split, if there is one.
    pub fn split(&self) -> Option<Split> {
        self.steps.iter().find_map(|step| if let CurateStep::Split(split) = step { Some(*split) } else { None })
    }
}

impl Params for CurateParams {
    const KIND: Kind = Kind::Curate;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let slot = |(i, from)| Input::one(format!("from[{i}]"), from, InputType::Dataset);
        self.from.iter().enumerate().map(slot).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = InputType::Dataset;
        if self.split().is_some() {
            vec![
                Output { name: "train".into(), path: "train".into(), kind },
                Output { name: "eval".into(), path: "eval".into(), kind },
            ]
        } else {
            vec![Output { name: "".into(), path: "rows".into(), kind }]
        }
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.from.is_empty() {
            mistakes.push(Mistake::new("from", "there is nothing to curate").help("name at least one source node"));
        }
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                CurateStep::Split(split) => {
                    if !(split.eval > 0.0 && split.eval < 1.0) {
                        mistakes.push(Mistake::new(
                            format!("steps[{i}].split.eval"),
                            format!("a share of {} is not between 0 and 1", split.eval),
                        ));
                    }
                    if i + 1 != self.steps.len() {
                        mistakes.push(Mistake::new(format!("steps[{i}]"), "`split` must be the last step"));
                    }
                }
                CurateStep::Length(Length { min_chars: Some(min), max_chars: Some(max) }) if min > max => {
                    mistakes.push(Mistake::new(
                        format!("steps[{i}].length.min_chars"),
                        format!("no row can have at least {min} and at most {max} characters"),
                    ));
                }
                CurateStep::Language(language) if language.keep.is_empty() => {
                    mistakes.push(Mistake::new(format!("steps[{i}].language.keep"), "no language is kept"));
                }
                CurateStep::Sample(sample) if sample.rows == 0 => {
                    let help = "keep 1 row or more, or leave the step out";
                    let mistake = Mistake::new(format!("steps[{i}].sample.rows"), "a sample of 0 rows keeps nothing");
                    mistakes.push(mistake.help(help));
                }
                CurateStep::Normalize(_)
                | CurateStep::Length(_)
                | CurateStep::Language(_)
                | CurateStep::Dedup(_)
                | CurateStep::Sample(_) => {}
            }
        }
        mistakes
    }
}
