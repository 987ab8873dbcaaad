//! The tokenizer of a model folder becomes a [`Vocabulary`].
//!
//! Only what a GGUF file can say is taken; the rest is refused by name. Tokens come from `tokenizer.json`; what the
//! special ones are for stands in `tokenizer_config.json`, or by number in `config.json`.

use std::path::Path;

use serde_json::{Value, json};

use super::config::{CONFIG_FILE, read_json};
use super::error::GgufError;
use super::pieces;
use super::pre::Pre;
use super::shape::Family;
use super::tokenizer_file::{TEMPLATE_FILE, TOKENIZER_CONFIG, TOKENIZER_FILE, space_mark};
use super::vocabulary::{Rules, TokenKind, Vocabulary, filler};

/// Reads the tokenizer of a model folder. There are `rows` rows in the embedding.
pub(super) fn read(dir: &Path, family: Family, rows: usize) -> Result<Vocabulary, GgufError> {
    let path = dir.join(TOKENIZER_FILE);
    let file = read_json(&path)?;
    let (tokens, kinds) = read_tokens(&file, rows).map_err(|reason| GgufError::folder(&path, reason))?;
    let rules = read_rules(&file, family, &tokens).map_err(|reason| GgufError::folder(&path, reason))?;
    let named = Named::read(dir, &tokens)?;
    let kinds = match &rules {
        Rules::Bytes { .. } => kinds,
        Rules::Pieces { .. } => mark_pieces(&tokens, kinds, named.unknown),
    };
    let bos = named.bos.and_then(|id| tokens.get(id as usize));
    let adds_bos = bos.is_some_and(|bos| puts_in_front(&file["post_processor"], bos)) || named.adds_bos;
    Ok(Vocabulary {
        kinds,
        rules,
        bos: named.bos,
        eos: named.eos,
        pad: named.pad,
        unknown: named.unknown,
        turn_end: None,
        adds_bos,
        template: read_template(dir, &named.config)?,
        tokens,
    })
}

fn read_tokens(file: &Value, rows: usize) -> Result<(Vec<String>, Vec<TokenKind>), String> {
    let vocabulary = file["model"]["vocab"].as_object().ok_or("`model.vocab` is missing; only BPE can be written")?;
    let mut places: Vec<Option<(&str, TokenKind)>> = vec![None; rows];
    for (token, id) in vocabulary {
        let place = id.as_u64().and_then(|id| places.get_mut(usize::try_from(id).ok()?));
        let place =
            place.ok_or_else(|| format!("the token `{token}` has the id {id}, and the embedding {rows} rows"))?;
        if let Some((other, _)) = place.replace((token, TokenKind::Normal)) {
            return Err(format!("the tokens `{other}` and `{token}` have the same id {id}"));
        }
    }
    for added in file["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (Some(token), Some(id)) = (added["content"].as_str(), added["id"].as_u64()) else {
            return Err(format!("`added_tokens` holds {added}, without a text or an id"));
        };
        // A token without a row in the embedding is one that the model cannot see (Gemma's for images).
        let Some(place) = usize::try_from(id).ok().and_then(|id| places.get_mut(id)) else { continue };
        if place.is_some_and(|(other, _)| other != token) {
            return Err(format!("the added token `{token}` has the id {id} of another one"));
        }
        let special = added["special"] == true;
        *place = Some((token, if special { TokenKind::Control } else { TokenKind::UserDefined }));
    }
    let fill = |(id, place): (usize, Option<(&str, TokenKind)>)| {
        place.map_or_else(|| (filler(id), TokenKind::Unused), |(token, kind)| (token.to_owned(), kind))
    };
    Ok(places.into_iter().enumerate().map(fill).unzip())
}

/// Marks the tokens that SentencePiece knows by more than their text.
fn mark_pieces(tokens: &[String], mut kinds: Vec<TokenKind>, unknown: Option<u32>) -> Vec<TokenKind> {
    for (token, kind) in tokens.iter().zip(&mut kinds) {
        let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if byte.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok()) {
            *kind = TokenKind::Byte;
        }
    }
    if let Some(kind) = unknown.and_then(|id| kinds.get_mut(id as usize)) {
        *kind = TokenKind::Unknown;
    }
    kinds
}

fn read_rules(file: &Value, family: Family, tokens: &[String]) -> Result<Rules, String> {
    let model = &file["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
        return Err(format!("its model is {}, and only BPE can be written", model["type"]));
    }
    let affix = |key: &str| model[key].as_str().is_some_and(|text| !text.is_empty());
    if affix("continuing_subword_prefix") || affix("end_of_word_suffix") {
        return Err("its model marks the parts of words, which a GGUF file cannot say".into());
    }
    let merges = read_merges(&model["merges"])?;
    if model["byte_fallback"] == true {
        if family != Family::Gemma3 || file["normalizer"] != space_mark() {
            return Err("it is SentencePiece's BPE of another kind than Gemma's".into());
        }
        let scores = pieces::scores(tokens, &merges).ok_or("its merges are not those of SentencePiece's BPE")?;
        return Ok(Rules::Pieces { scores });
    }
    let lfm2 = family == Family::Lfm2;
    let pre = Pre::from_json(&file["pre_tokenizer"], lfm2).ok_or("its pre-tokenizer has no name in llama.cpp")?;
    let normalizer = &file["normalizer"];
    if !normalizer.is_null() && normalizer["type"] != "NFC" {
        return Err(format!("its normalizer {} has no place in a GGUF file", normalizer["type"]));
    }
    Ok(Rules::Bytes { pre, merges })
}

/// Reads merges, which are pairs, or in older files texts with a space.
fn read_merges(value: &Value) -> Result<Vec<(String, String)>, String> {
    let merges = value.as_array().ok_or("`model.merges` is missing; only BPE can be written")?;
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
            _ => None,
        },
        _ => None,
    };
    merges
        .iter()
        .map(|merge| pair(merge).ok_or_else(|| format!("`model.merges` holds {merge}, which is no pair")))
        .collect()
}

/// Returns whether a post-processor puts a token in front of a text.
fn puts_in_front(value: &Value, token: &str) -> bool {
    match value["type"].as_str() {
        Some("Sequence") => {
            value["processors"].as_array().is_some_and(|steps| steps.iter().any(|step| puts_in_front(step, token)))
        }
        Some("TemplateProcessing") => value["single"][0]["SpecialToken"]["id"] == token,
        _ => false,
    }
}

/// The tokens that a folder names in its other files.
struct Named {
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unknown: Option<u32>,
    adds_bos: bool,
    config: Value,
}

impl Named {
    /// Reads the names in `tokenizer_config.json`, and the ids in `config.json` where those are missing.
    fn read(dir: &Path, tokens: &[String]) -> Result<Self, GgufError> {
        let path = dir.join(TOKENIZER_CONFIG);
        let config = if path.is_file() { read_json(&path)? } else { json!({}) };
        let model = read_json(&dir.join(CONFIG_FILE))?;
        let find = |name: &str| {
            let value = &config[format!("{name}_token")];
            let text = value.as_str().or_else(|| value["content"].as_str())?;
            tokens.iter().position(|token| token == text).map(|id| id as u32)
        };
        let listed = |name: &str| {
            let value = &model[format!("{name}_token_id")];
            let id = value.as_u64().or_else(|| value[0].as_u64())?;
            u32::try_from(id).ok().filter(|id| (*id as usize) < tokens.len())
        };
        let either = |name: &str| find(name).or_else(|| listed(name));
        Ok(Self {
            bos: either("bos"),
            eos: either("eos"),
            pad: either("pad"),
            unknown: find("unk"),
            adds_bos: config["add_bos_token"] == true,
            config,
        })
    }
}

/// Returns the chat template: the file of its own if there is one, otherwise the one in the configuration.
fn read_template(dir: &Path, config: &Value) -> Result<Option<String>, GgufError> {
    let path = dir.join(TEMPLATE_FILE);
    if path.is_file() {
        return Ok(Some(fs_err::read_to_string(path)?));
    }
    let source = match &config["chat_template"] {
        Value::String(source) => Some(source.as_str()),
        Value::Array(several) => {
            several.iter().find(|one| one["name"] == "default").and_then(|one| one["template"].as_str())
        }
        _ => None,
    };
    Ok(source.map(str::to_owned))
}
