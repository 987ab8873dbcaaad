//! The settings of steps that find repeated and nearly repeated rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::{FilterMode, StepParams};

/// What of a row is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKey {
    /// All that it says; of a chat, all messages.
    #[default]
    Text,
    /// What users say; rows that are no chats count whole.
    Prompt,
    /// What assistants say; rows that are no chats count whole.
    Response,
}

/// How text is brought to one form before it is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextForm {
    /// As it is.
    None,
    /// NFC, lower case, single spaces.
    #[default]
    Light,
    /// As datatrove simplifies text: lower case, numbers as `0`, no punctuation, no accents.
    Datatrove,
}

/// Which of several alike rows stays: the best by the first rule, by the second among equals, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepRule {
    /// That of the entry of `from` with the highest `priority`.
    Priority,
    /// That with the highest `score`.
    Score,
    /// The longest one.
    Longest,
    /// The first one.
    First,
    /// The one that datatrove keeps, which is that by which union-find names the cluster. Only alone, and only for comparing.
    Datatrove,
}

pub(super) fn usual_keep() -> Vec<KeepRule> {
    vec![KeepRule::Priority, KeepRule::Longest, KeepRule::First]
}

pub(super) fn check_keep(keep: &[KeepRule], score: Option<&String>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if keep.contains(&KeepRule::Datatrove) && keep.len() > 1 {
        mistakes.push(Mistake::new("keep", "`datatrove` stands alone").help("write `keep: [datatrove]`"));
    }
    if keep.contains(&KeepRule::Score) != score.is_some() {
        let help = "`score` is the expression, `keep: [score, …]` its place among the rules";
        mistakes.push(Mistake::new("score", "`keep: [score]` and `score` go together").help(help));
    }
    mistakes
}

/// Drops rows that say the same as another one, across all entries of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupExact {
    /// What of a row is compared.
    #[serde(default)]
    pub key: DuplicateKey,
    /// The form in which it is compared.
    #[serde(default)]
    pub normalize: TextForm,
    /// Which one stays.
    #[serde(default = "usual_keep")]
    pub keep: Vec<KeepRule>,
    /// An expression over the row's columns, as in `where`, for the rule `score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// What happens to the others.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

impl StepParams for DedupExact {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = check_keep(&self.keep, self.score.as_ref());
        if self.keep.contains(&KeepRule::Datatrove) {
            mistakes.push(Mistake::new("keep", "`datatrove` is a rule of `dedup_fuzzy`"));
        }
        mistakes
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// A family of MinHash functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MinHashScheme {
    /// datasketch's 32-bit family over xxHash: the fastest, in half the memory of 64 bits.
    #[default]
    Affine32,
    /// datatrove 0.10, bit for bit.
    Datatrove64,
    /// datasketch 2.0 (`scheme="affine32"`, SHA-1), bit for bit.
    Datasketch32,
}

/// What a shingle is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShingleUnit {
    /// Words.
    #[default]
    Word,
    /// Characters.
    Char,
}

/// What happens to rows that are too short for one shingle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShortRows {
    /// They are compared whole.
    #[default]
    Exact,
    /// They stay, as with datatrove.
    Keep,
}

/// Drops rows that are nearly the same as another one, across all entries of `from`, found by MinHash and LSH.
///
/// Rows whose signatures agree in a whole band become candidates; with `verify` the share of shingles that two candidates
/// have in common (their Jaccard index) must reach it, counted exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupFuzzy {
    /// What of a row is compared.
    #[serde(default)]
    pub key: DuplicateKey,
    /// The form in which it is compared.
    #[serde(default = "datatrove_form")]
    pub normalize: TextForm,
    /// The family of hash functions.
    #[serde(default)]
    pub scheme: MinHashScheme,
    /// What shingles are made of.
    #[serde(default)]
    pub unit: ShingleUnit,
    /// How many words or characters a shingle has.
    #[serde(default = "five")]
    pub ngram: usize,
    /// How many bands a signature has.
    #[serde(default = "fourteen")]
    pub bands: usize,
    /// How many values a band has.
    #[serde(default = "eight")]
    pub rows: usize,
    /// Instead of `bands` and `rows`: of `permutations` values, the cut by which pairs of this likeness are told apart best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// How many values a signature has, with `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permutations: Option<usize>,
    /// The likeness that candidates must have; none leaves it at the signatures' word, as datatrove does.
    #[serde(default = "four_fifths")]
    pub verify: Option<f64>,
    /// What happens to rows with too few words.
    #[serde(default)]
    pub short_rows: ShortRows,
    /// Which one stays.
    #[serde(default = "usual_keep")]
    pub keep: Vec<KeepRule>,
    /// An expression over the row's columns, as in `where`, for the rule `score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// Data sets whose rows stay out of this one: rows like one of theirs are dropped.
    #[serde(default, skip_serializing)]
    pub against: Vec<InputRef>,
    /// A column for what tells clusters apart: equal for rows that hang together. For `split: {group: …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What the hash functions are drawn from.
    #[serde(default = "one")]
    pub seed: u32,
    /// What happens to the others.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn datatrove_form() -> TextForm {
    TextForm::Datatrove
}

fn five() -> usize {
    5
}

fn fourteen() -> usize {
    14
}

fn eight() -> usize {
    8
}

fn one() -> u32 {
    1
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn four_fifths() -> Option<f64> {
    Some(0.8)
}

/// The most values that a signature may have.
const MOST_VALUES: usize = 4096;

impl DedupFuzzy {
    /// Returns the number of bands and of values in each.
    pub fn cut(&self) -> (usize, usize) {
        match (self.threshold, self.permutations) {
            (Some(threshold), permutations) => best_cut(threshold, permutations.unwrap_or(self.bands * self.rows)),
            (None, _) => (self.bands, self.rows),
        }
    }
}

/// Returns the cut of `values` values that errs the least about pairs above and below the threshold: the one for which the
/// area of both kinds of error, weighted alike, is the smallest (as datasketch and text-dedup choose it).
fn best_cut(threshold: f64, values: usize) -> (usize, usize) {
    /// Points at which an error is looked at.
    const POINTS: usize = 1000;
    let area = |from: f64, to: f64, error: &dyn Fn(f64) -> f64| {
        let step = (to - from) / POINTS as f64;
        (0..POINTS).map(|i| error(from + (i as f64 + 0.5) * step) * step).sum::<f64>()
    };
    let mut best = (f64::INFINITY, (1, 1));
    for bands in 1..=values {
        for rows in 1..=values / bands {
            let missed = |s: f64| (1.0 - s.powi(rows as i32)).powi(bands as i32);
            let error = 0.5 * area(0.0, threshold, &|s| 1.0 - missed(s)) + 0.5 * area(threshold, 1.0, &missed);
            if error < best.0 {
                best = (error, (bands, rows));
            }
        }
    }
    best.1
}

impl StepParams for DedupFuzzy {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = check_keep(&self.keep, self.score.as_ref());
        let mut wrong = |field: &str, message: String| mistakes.push(Mistake::new(field, message));
        if self.ngram == 0 {
            wrong("ngram", "a shingle has at least one word".into());
        }
        if self.bands == 0 || self.rows == 0 || self.bands.saturating_mul(self.rows) > MOST_VALUES {
            wrong("bands", format!("a signature has 1 to {MOST_VALUES} values, in bands of at least 1"));
        }
        for (field, share) in [("threshold", self.threshold), ("verify", self.verify)] {
            if share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
                wrong(field, "a likeness is above 0 and at most 1".into());
            }
        }
        if self.permutations.is_some() && self.threshold.is_none() {
            wrong("permutations", "without `threshold` there are `bands` times `rows` values".into());
        }
        if self.permutations.is_some_and(|values| values == 0 || values > 512) {
            wrong("permutations", "a threshold is met with 1 to 512 values".into());
        }
        if self.keep.contains(&KeepRule::Datatrove) && (self.verify.is_some() || !self.against.is_empty()) {
            wrong(
                "keep",
                "`datatrove` keeps one row of a cluster, unverified: write `verify: null` and no `against`".into(),
            );
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        let read = |(i, node)| Input::one(format!("against[{i}]"), node, InputType::Dataset);
        self.against.iter().enumerate().map(read).collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// Finds passages that stood earlier in the data: exactly the same bytes, whatever is around them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupSubstring {
    /// The shortest passage that counts, in bytes of UTF-8.
    #[serde(default = "two_hundred")]
    pub min_bytes: usize,
    /// What happens then.
    #[serde(default)]
    pub action: PassageAction,
    /// What happens to rows that go.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

/// What happens when a passage of a row stood earlier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassageAction {
    /// The row goes.
    #[default]
    Drop,
    /// The passage goes.
    Remove,
}

fn two_hundred() -> usize {
    200
}

impl StepParams for DedupSubstring {
    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = || Mistake::new("min_bytes", "passages of fewer than 20 bytes are how people write");
        (self.min_bytes < 20).then(mistake).into_iter().collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_those_of_datasketch() {
        for (threshold, values, cut) in [
            (0.5, 128, (25, 5)),
            (0.6, 128, (18, 7)),
            (0.7, 112, (12, 9)),
            (0.7, 128, (14, 9)),
            (0.7, 250, (25, 10)),
            (0.8, 128, (9, 13)),
            (0.9, 128, (5, 25)),
        ] {
            assert_eq!(best_cut(threshold, values), cut, "{threshold} of {values}");
        }
    }
}
