//! What is made of a model's answers.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A metric, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Which one.
    pub metric: MetricName,
    /// What the score is called; the name of the metric when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The part of an answer that is judged; all of it when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
    /// What `exact_match` overlooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Ignore>,
    /// What `exact_match` takes out of answer and reference first: regular expressions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_patterns: Vec<String>,
    /// By whose rules `maths` and `ifeval` judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<JudgeRules>,
    /// The language of the words around an answer, for `maths` and `letter`: `en` or `fr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The chance that one of so many answers is right (pass@k), where each question gets several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_at: Option<usize>,
    /// The most frequent of so many answers is judged (maj@k).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maj_at: Option<usize>,
}

/// The mapping form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mapping {
    /// Which one.
    metric: MetricName,
    /// What the score is called; the name of the metric when left out.
    #[serde(default)]
    name: Option<String>,
    /// The part of an answer that is judged; all of it when left out.
    #[serde(default)]
    extract: Option<Extract>,
    /// What `exact_match` overlooks.
    #[serde(default)]
    ignore: Vec<Ignore>,
    /// What `exact_match` takes out of answer and reference first: regular expressions.
    #[serde(default)]
    ignore_patterns: Vec<String>,
    /// By whose rules `maths` and `ifeval` judge.
    #[serde(default)]
    rules: Option<JudgeRules>,
    /// The language of the words around an answer, for `maths` and `letter`: `en` or `fr`.
    #[serde(default)]
    language: Option<String>,
    /// The chance that one of so many answers is right (pass@k), where each question gets several.
    #[serde(default)]
    pass_at: Option<usize>,
    /// The most frequent of so many answers is judged (maj@k).
    #[serde(default)]
    maj_at: Option<usize>,
}

/// The metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Choices, pairs: the likeliest is right.
    Acc,
    /// Choices, pairs: the likeliest for its characters is right.
    AccNorm,
    /// Choices: the same, where the space before an answer is no character.
    AccNormNospace,
    /// Choices, pairs: the likeliest for its tokens is right.
    AccToken,
    /// Choices, pairs: the likeliest for its bytes is right.
    AccBytes,
    /// Choices: the one whose likelihood the question raises most is right (PMI).
    AccMutualInfo,
    /// Choices: the likelihood of the right answers among all.
    Share,
    /// Choices: the Brier score of the likelihoods. Lower is better.
    Brier,
    /// Texts: bits for a byte. Lower is better.
    BitsPerByte,
    /// Texts: perplexity for a byte. Lower is better.
    BytePerplexity,
    /// Texts: perplexity for a word. Lower is better.
    WordPerplexity,
    /// Answers: equal to a reference, spaces around both apart.
    Em,
    /// Answers: beginning with a reference.
    Pem,
    /// Answers: equal to a reference in HELM's normal form.
    Qem,
    /// Answers: beginning with a reference in HELM's normal form.
    Pqem,
    /// Answers: equal to a reference, some differences overlooked.
    ExactMatch,
    /// Answers: the F1 of words shared with a reference (SQuAD).
    F1,
    /// Answers: BLEU over the whole task.
    Bleu,
    /// Answers: chrF over the whole task.
    Chrf,
    /// Answers: a number or formula equal to the reference's.
    Maths,
    /// Answers: the letter of the right choice (`gold` is a letter, or the place of one).
    Letter,
    /// Answers: every instruction followed. Four scores: `prompt_strict`, `inst_strict`, `prompt_loose`, `inst_loose`.
    /// The row's columns `instruction_id_list` and `kwargs` say what was asked.
    Ifeval,
}

/// The scores of `ifeval`, whose judgement is four: of prompts and of instructions, strict and loose.
pub const IFEVAL_SCORES: [&str; 4] = ["prompt_strict", "inst_strict", "prompt_loose", "inst_loose"];

/// The part of an answer that is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// A regular expression; of its groups the first that holds something, or all of it.
    pub pattern: String,
    /// Which of the places where it is found.
    #[serde(default)]
    pub take: Take,
}

/// Which of several places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// What `exact_match` overlooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ignore {
    /// Upper and lower case.
    Case,
    /// Punctuation of ASCII.
    Punctuation,
    /// Digits of ASCII.
    Numbers,
}

/// By whose rules answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JudgeRules {
    /// What a reader would accept.
    Native,
    /// lighteval 0.10.0 as `pass@k` calls it; the published checkers of IFEval.
    Luth,
    /// lighteval's comparison as it was meant.
    Lighteval,
    /// math-verify 0.9; the published checkers of IFEval.
    MathVerify,
    /// Hendrycks' comparison of texts (MATH).
    Hendrycks,
    /// Minerva's normal form, as lm-evaluation-harness has it.
    Minerva,
}

impl MetricName {
    /// Returns the word that a pipeline has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccNormNospace => "acc_norm_nospace",
            Self::AccToken => "acc_token",
            Self::AccBytes => "acc_bytes",
            Self::AccMutualInfo => "acc_mutual_info",
            Self::Share => "share",
            Self::Brier => "brier",
            Self::BitsPerByte => "bits_per_byte",
            Self::BytePerplexity => "byte_perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::Em => "em",
            Self::Pem => "pem",
            Self::Qem => "qem",
            Self::Pqem => "pqem",
            Self::ExactMatch => "exact_match",
            Self::F1 => "f1",
            Self::Bleu => "bleu",
            Self::Chrf => "chrf",
            Self::Maths => "maths",
            Self::Letter => "letter",
            Self::Ifeval => "ifeval",
        }
    }

    /// Returns what the scores of such a metric are called, if the metric itself is called `name`.
    pub fn scores(self, name: &str) -> Vec<String> {
        let with = |score: &str| if name == self.word() { score.to_owned() } else { format!("{name}_{score}") };
        match self {
            Self::Ifeval => IFEVAL_SCORES.map(with).into(),
            _ => vec![name.to_owned()],
        }
    }

    /// Says whether more is better.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::Brier | Self::BitsPerByte | Self::BytePerplexity | Self::WordPerplexity)
    }
}

impl Metric {
    /// Returns what it is called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.metric.word())
    }

    /// Returns what its scores are called.
    pub fn scores(&self) -> Vec<String> {
        self.metric.scores(self.name())
    }
}

impl From<MetricName> for Metric {
    fn from(metric: MetricName) -> Self {
        Self {
            metric,
            name: None,
            extract: None,
            ignore: Vec::new(),
            ignore_patterns: Vec::new(),
            rules: None,
            language: None,
            pass_at: None,
            maj_at: None,
        }
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Metric;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a metric, or a mapping with `metric`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Metric, E> {
                MetricName::deserialize(StrDeserializer::new(name)).map(Metric::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Metric, A::Error> {
                let m = Mapping::deserialize(MapAccessDeserializer::new(map))?;
                let Mapping { metric, name, extract, ignore, ignore_patterns, .. } = m;
                let (rules, language, pass_at, maj_at) = (m.rules, m.language, m.pass_at, m.maj_at);
                Ok(Metric { metric, name, extract, ignore, ignore_patterns, rules, language, pass_at, maj_at })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Metric {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metric".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (name, mapping) = (generator.subschema_for::<MetricName>(), generator.subschema_for::<Mapping>());
        schemars::json_schema!({"anyOf": [name, mapping]})
    }
}
