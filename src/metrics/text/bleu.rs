//! BLEU (Papineni et al. 2002) as sacrebleu 2 computes it (Post 2018), with its tokenizers `13a`, `intl` and `none` and its
//! smoothing (Chen and Cherry 2014).

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use rustc_hash::FxHashMap;

use super::super::python::is_space;

/// How a text becomes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// mteval-v13a's, sacrebleu's default.
    V13a,
    /// mteval-v14's, by Unicode's punctuation and symbols.
    International,
    /// Spaces alone.
    None,
}

/// What an order without matches counts as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothing {
    /// Nothing, and so the score.
    None,
    /// Half a match, a quarter for the next such order, and so on (`exp`, sacrebleu's default).
    Exponential,
    /// So many matches.
    Floor(f64),
    /// So many more matches of each order but the first.
    Add(f64),
}

/// Runs of up to this many words are compared.
pub const ORDER: usize = 4;

/// The settings of a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bleu {
    /// How a text becomes words.
    pub tokenizer: Tokenizer,
    /// What an order without matches counts as.
    pub smoothing: Smoothing,
    /// Leave out orders that the answer is too short for; wanted for single sentences.
    pub effective_order: bool,
    /// Compare in lower case.
    pub lowercase: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self { tokenizer: Tokenizer::V13a, smoothing: Smoothing::Exponential, effective_order: false, lowercase: false }
    }
}

/// What a score is made of; those of several answers add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    answer: usize,
    reference: usize,
    matches: [usize; ORDER],
    runs: [usize; ORDER],
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.answer += other.answer;
        self.reference += other.reference;
        for order in 0..ORDER {
            self.matches[order] += other.matches[order];
            self.runs[order] += other.runs[order];
        }
    }
}

impl Bleu {
    /// Counts what an answer shares with its references.
    pub fn count(&self, answer: &str, references: &[&str]) -> Counts {
        let answer = self.tokens(answer);
        let answer: Vec<&str> = words(&answer);
        let references: Vec<String> = references.iter().map(|reference| self.tokens(reference)).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|reference| words(reference)).collect();
        let nearest = references.iter().map(Vec::len).min_by_key(|length| (length.abs_diff(answer.len()), *length));
        let mut counts = Counts { answer: answer.len(), reference: nearest.unwrap_or(0), ..Counts::default() };
        for order in 1..=ORDER {
            let known: Vec<_> = references.iter().map(|reference| runs(reference, order)).collect();
            // A run counts as often as in the reference that has it most often.
            let most = |run: &[&str]| known.iter().filter_map(|known| known.get(run)).max().copied().unwrap_or(0);
            counts.runs[order - 1] = (answer.len() + 1).saturating_sub(order);
            let shared = runs(&answer, order).into_iter().map(|(run, count)| count.min(most(run)));
            counts.matches[order - 1] = shared.sum();
        }
        counts
    }

    /// The score of counts, from 0 to 100.
    pub fn score(&self, counts: &Counts) -> f64 {
        if counts.matches.iter().all(|count| *count == 0) {
            return 0.0;
        }
        let (mut logs, mut orders, mut halves) = (0.0, ORDER, 1.0);
        for order in 0..ORDER {
            let added =
                if let Smoothing::Add(more) = self.smoothing { if order > 0 { more } else { 0.0 } } else { 0.0 };
            let (matches, runs) = (counts.matches[order] as f64 + added, counts.runs[order] as f64 + added);
            if runs == 0.0 {
                // Without `effective_order`, an order that has no runs at all leaves nothing.
                logs += if self.effective_order { 0.0 } else { NOTHING * (ORDER - order) as f64 };
                break;
            }
            if self.effective_order {
                orders = order + 1;
            }
            let precision = match self.smoothing {
                _ if matches > 0.0 => matches / runs,
                Smoothing::Exponential => {
                    halves *= 2.0;
                    1.0 / (halves * runs)
                }
                Smoothing::Floor(floor) => floor / runs,
                Smoothing::None | Smoothing::Add(_) => 0.0,
            };
            logs += if precision == 0.0 { NOTHING } else { (100.0 * precision).ln() };
        }
        brevity(counts) * (logs / orders as f64).exp()
    }

    /// The score of one answer, with the orders that it is long enough for.
    pub fn sentence(&self, answer: &str, references: &[&str]) -> f64 {
        Self { effective_order: true, ..*self }.score(&self.count(answer, references))
    }

    fn tokens(&self, text: &str) -> String {
        let text = text.trim_end_matches(is_space);
        let text = if self.lowercase { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        match self.tokenizer {
            Tokenizer::V13a => tokens_13a(&text),
            Tokenizer::International => apply(text.into_owned(), &INTERNATIONAL),
            Tokenizer::None => text.into_owned(),
        }
    }
}

/// sacrebleu's logarithm of nothing.
const NOTHING: f64 = -9_999_999_999.0;

fn brevity(counts: &Counts) -> f64 {
    if counts.answer >= counts.reference {
        1.0
    } else if counts.answer == 0 {
        0.0
    } else {
        (1.0 - counts.reference as f64 / counts.answer as f64).exp()
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

fn runs<'a, 'b>(words: &'b [&'a str], order: usize) -> FxHashMap<&'b [&'a str], usize> {
    let mut runs = FxHashMap::default();
    words.windows(order).for_each(|run| *runs.entry(run).or_default() += 1);
    runs
}

type Steps = LazyLock<Vec<(Regex, &'static str)>>;

fn steps(steps: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    steps.iter().map(|(pattern, by)| (Regex::new(pattern).expect("a literal pattern is valid"), *by)).collect()
}

static WESTERN: Steps = LazyLock::new(|| {
    steps(&[
        (r"([\{-\~\[-\` -\&\(-\+\:-\@/])", " $1 "),
        (r"([^0-9])([\.,])", "$1 $2 "),
        (r"([\.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

static INTERNATIONAL: Steps =
    LazyLock::new(|| steps(&[(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")]));

fn apply(mut text: String, steps: &Steps) -> String {
    for (pattern, by) in steps.iter() {
        if let Cow::Owned(changed) = pattern.replace_all(&text, *by) {
            text = changed;
        }
    }
    text
}

fn tokens_13a(text: &str) -> String {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if text.contains('&') {
        text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    }
    apply(format!(" {text} "), &WESTERN)
}
