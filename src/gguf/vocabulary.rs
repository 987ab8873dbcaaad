//! Tokenizer and chat template as settings of a GGUF file, to and from [`Vocabulary`].
//!
//! Two kinds are known. Byte-level BPE lists tokens and merges, and names the way a text is cut before them
//! ([`super::pre`]). SentencePiece's BPE, which only Gemma has here, lists pieces with scores; its merges follow from
//! these ([`super::pieces`]).

use super::error::GgufError;
use super::file::GgufFile;
use super::pre::Pre;
use super::shape::Family;
use super::value::Value;
use super::writer::{Settings, Written};

/// What a token is, by its number in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl TokenKind {
    fn from_number(number: usize) -> Option<Self> {
        use TokenKind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
        [Normal, Unknown, Control, UserDefined, Unused, Byte].into_iter().find(|kind| *kind as usize == number)
    }
}

/// How tokens are made from a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rules {
    /// Byte-level BPE: the way a text is cut, and the merges in their order.
    Bytes { pre: Pre, merges: Vec<(String, String)> },
    /// SentencePiece's BPE: a score for every piece.
    Pieces { scores: Vec<f32> },
}

/// The tokenizer of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vocabulary {
    /// The tokens by id, one for every row of the embedding.
    pub(super) tokens: Vec<String>,
    pub(super) kinds: Vec<TokenKind>,
    pub(super) rules: Rules,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
    pub(super) unknown: Option<u32>,
    /// What ends a turn, where it is not `eos`.
    pub(super) turn_end: Option<u32>,
    /// Whether `bos` goes in front of every text.
    pub(super) adds_bos: bool,
    pub(super) template: Option<String>,
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Returns the text of a token that only fills a row of the embedding.
pub(super) fn filler(id: usize) -> String {
    format!("[PAD{id}]")
}

/// Reads the tokenizer of a file. There are `rows` rows in the embedding.
pub(super) fn read(file: &GgufFile, family: Family, rows: usize) -> Result<Vocabulary, GgufError> {
    let bad = |key: &str, reason: String| GgufError::setting(file.path(), key, reason);
    let missing = |key: &str| bad(key, "is missing".into());
    let tokens = file.texts(TOKENS)?.ok_or_else(|| missing(TOKENS))?;
    if tokens.len() != rows {
        return Err(bad(TOKENS, format!("has {} entries, and the embedding {rows} rows", tokens.len())));
    }
    let kinds = match file.numbers(KINDS)? {
        Some(numbers) => read_kinds(&numbers).map_err(|reason| bad(KINDS, reason))?,
        None => vec![TokenKind::Normal; rows],
    };
    if kinds.len() != rows {
        return Err(bad(KINDS, format!("has {} entries for {rows} tokens", kinds.len())));
    }
    if file.truth(ADD_EOS)? == Some(true) {
        return Err(bad(ADD_EOS, "is true; a token behind every text cannot be carried over".into()));
    }
    let rules = read_rules(file, family, rows)?;
    let usually = match &rules {
        Rules::Bytes { pre, .. } => pre.adds_bos(),
        Rules::Pieces { .. } => true,
    };
    let id = |name: &str| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = file.size(&key)?;
        if let Some(id) = id.filter(|id| *id >= rows) {
            return Err(bad(&key, format!("is {id}, and there are {rows} tokens")));
        }
        Ok(id.map(|id| id as u32))
    };
    Ok(Vocabulary {
        tokens: tokens.into_iter().map(str::to_owned).collect(),
        kinds,
        rules,
        bos: id("bos")?,
        eos: id("eos")?,
        pad: id("padding")?,
        unknown: id("unknown")?,
        turn_end: id("eot")?,
        adds_bos: file.truth(ADD_BOS)?.unwrap_or(usually),
        template: file.text(TEMPLATE)?.map(str::to_owned),
    })
}

fn read_kinds(numbers: &[Value]) -> Result<Vec<TokenKind>, String> {
    let kind = |number: &Value| number.as_usize().and_then(TokenKind::from_number);
    numbers.iter().map(kind).collect::<Option<_>>().ok_or_else(|| "holds a number that is no kind of token".into())
}

fn read_rules(file: &GgufFile, family: Family, rows: usize) -> Result<Rules, GgufError> {
    let bad = |key: &str, reason: String| GgufError::setting(file.path(), key, reason);
    match file.text(MODEL)?.unwrap_or("nothing") {
        "gpt2" => {
            let pre = file.text(PRE)?.unwrap_or("default");
            let pre = Pre::from_name(pre).map_err(|reason| bad(PRE, reason))?;
            let listed = file.texts(MERGES)?.ok_or_else(|| bad(MERGES, "is missing".into()))?;
            let pair = |merge: &&str| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
            let merges = listed.iter().map(pair).collect::<Option<Vec<_>>>();
            Ok(Rules::Bytes {
                pre,
                merges: merges.ok_or_else(|| bad(MERGES, "holds an entry without a space".into()))?,
            })
        }
        "llama" if family == Family::Gemma3 => {
            let numbers = file.numbers(SCORES)?.ok_or_else(|| bad(SCORES, "is missing".into()))?;
            let score = |value: &Value| match value {
                Value::Single(score) if score.is_finite() => Some(*score),
                _ => None,
            };
            let scores: Option<Vec<f32>> = numbers.iter().map(score).collect();
            let scores = scores.filter(|scores| scores.len() == rows);
            let scores = scores.ok_or_else(|| bad(SCORES, "does not hold a finite number for every token".into()))?;
            if file.truth("tokenizer.ggml.add_space_prefix")? != Some(false) {
                let reason = "is not false; a space in front of every text cannot be carried over";
                return Err(bad("tokenizer.ggml.add_space_prefix", reason.into()));
            }
            Ok(Rules::Pieces { scores })
        }
        other => {
            let reason = format!("is `{other}`; only gpt2, and llama for gemma3, can be read");
            Err(bad(MODEL, reason))
        }
    }
}

/// Returns the settings of a tokenizer.
pub(super) fn write(vocabulary: &Vocabulary) -> Settings {
    let mut settings: Settings = Vec::new();
    let mut add = |key: &str, value: Written| settings.push((key.to_owned(), value));
    let text = |text: &str| Written::Text(text.to_owned());
    match &vocabulary.rules {
        Rules::Bytes { pre, .. } => {
            add(MODEL, text("gpt2"));
            add(PRE, text(pre.name()));
        }
        Rules::Pieces { .. } => {
            add(MODEL, text("llama"));
            add(PRE, text("default"));
        }
    }
    add(TOKENS, Written::Texts(vocabulary.tokens.clone()));
    match &vocabulary.rules {
        Rules::Bytes { merges, .. } => {
            add(KINDS, Written::I32s(vocabulary.kinds.iter().map(|kind| *kind as i32).collect()));
            add(MERGES, Written::Texts(merges.iter().map(|(a, b)| format!("{a} {b}")).collect()));
        }
        Rules::Pieces { scores } => {
            add(SCORES, Written::F32s(scores.clone()));
            add(KINDS, Written::I32s(vocabulary.kinds.iter().map(|kind| *kind as i32).collect()));
        }
    }
    let ids = [
        ("bos", vocabulary.bos),
        ("eos", vocabulary.eos),
        ("unknown", vocabulary.unknown),
        ("padding", vocabulary.pad),
        ("eot", vocabulary.turn_end),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            add(&format!("tokenizer.ggml.{name}_token_id"), Written::U32(id));
        }
    }
    add(ADD_BOS, Written::Truth(vocabulary.adds_bos));
    add("tokenizer.ggml.add_space_prefix", Written::Truth(false));
    if let Some(template) = &vocabulary.template {
        add(TEMPLATE, text(template));
    }
    settings
}
