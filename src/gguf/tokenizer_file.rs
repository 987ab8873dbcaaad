//! A [`Vocabulary`] becomes the files of a model folder's tokenizer; the way back is [`super::tokenizer_reader`].
//!
//! A tokenizer made from a GGUF file gives the same tokens as the one it came from, but is not byte for byte the same
//! file: what a file does not hold (how a special token takes white space, the text behind a rule) has llama.cpp's
//! meaning. All tokens stand in the vocabulary, so that special ones keep their ids wherever they lie.

use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::config::NamedTokens;
use super::error::GgufError;
use super::pieces;
use super::pre::Pre;
use super::vocabulary::{Rules, TokenKind, Vocabulary, filler};

pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";
/// What ends a turn in the chat templates of today's models.
const TURN_ENDS: [&str; 3] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>"];
/// Gemma's files mark these as ordinary tokens, though they begin and end turns.
const GEMMA_TURNS: [&str; 2] = ["<start_of_turn>", "<end_of_turn>"];

/// `tokenizer.json`, written without a copy of the vocabulary in memory.
#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    dropout: Value,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "by_id")]
    vocab: Vec<(&'a str, usize)>,
    merges: &'a [(String, String)],
}

fn by_id<S: Serializer>(vocabulary: &[(&str, usize)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(vocabulary.len()))?;
    for (token, id) in vocabulary {
        map.serialize_entry(token, id)?;
    }
    map.end()
}

impl Vocabulary {
    fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(String::as_str)
    }

    fn is_special(&self, id: usize) -> bool {
        let turn = matches!(self.rules, Rules::Pieces { .. }) && GEMMA_TURNS.contains(&self.tokens[id].as_str());
        self.kinds[id] == TokenKind::Control || turn
    }

    /// Returns whether a token only fills a row of the embedding.
    fn is_filler(&self, id: usize) -> bool {
        self.kinds[id] == TokenKind::Unused && self.tokens[id] == filler(id)
    }

    /// Returns the tokens that end a text or a turn.
    fn ends(&self) -> Vec<u32> {
        let mut ends: Vec<u32> = self.eos.into_iter().chain(self.turn_end).collect();
        let template = self.template.as_deref().unwrap_or_default();
        for name in TURN_ENDS.into_iter().filter(|name| template.contains(name)) {
            let id = self.tokens.iter().position(|token| token == name);
            ends.extend(id.filter(|id| self.is_special(*id)).map(|id| id as u32));
        }
        let mut seen = std::collections::BTreeSet::new();
        ends.retain(|id| seen.insert(*id));
        ends
    }

    /// Returns the tokens that `config.json` names.
    pub(super) fn named(&self) -> NamedTokens {
        NamedTokens { bos: self.bos, eos: self.eos, pad: self.pad }
    }

    /// Fails if a token occurs twice, which `tokenizer.json` has no way to say.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        match self.tokens.iter().find(|token| !seen.insert(token.as_str())) {
            Some(token) => Err(format!("the token `{}` occurs twice", token.escape_default())),
            None => Ok(()),
        }
    }
}

/// Writes the files of a tokenizer into a folder.
pub(super) fn write(vocabulary: &Vocabulary, context: usize, dir: &Path) -> Result<(), GgufError> {
    let made;
    let (merges, pre) = match &vocabulary.rules {
        Rules::Bytes { pre, merges } => (merges.as_slice(), Some(*pre)),
        Rules::Pieces { scores } => {
            made = pieces::merges(&vocabulary.tokens, scores);
            (made.as_slice(), None)
        }
    };
    let ids = (0..vocabulary.tokens.len()).filter(|id| !vocabulary.is_filler(*id));
    let file = File {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: added(vocabulary).map(|(_, token)| token).collect(),
        normalizer: pre.map_or_else(space_mark, Pre::normalizer),
        pre_tokenizer: pre.map_or_else(space_split, Pre::json),
        post_processor: post_processor(vocabulary),
        decoder: decoder(pre.is_some()),
        model: Model {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: if pre.is_some() { None } else { vocabulary.token(vocabulary.unknown) },
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: pre.is_none(),
            byte_fallback: pre.is_none(),
            ignore_merges: pre.is_some_and(Pre::ignores_merges),
            vocab: ids.map(|id| (vocabulary.tokens[id].as_str(), id)).collect(),
            merges,
        },
    };
    write_json(&dir.join(TOKENIZER_FILE), &file)?;
    write_json(&dir.join(TOKENIZER_CONFIG), &tokenizer_config(vocabulary, context))?;
    write_json(&dir.join("special_tokens_map.json"), &special_tokens(vocabulary))?;
    write_json(&dir.join("generation_config.json"), &generation_config(vocabulary))
}

/// Writes a JSON file of a model folder.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), GgufError> {
    let mut text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(fs_err::write(path, text)?)
}

pub(super) fn space_mark() -> Value {
    json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"})
}

fn space_split() -> Value {
    json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})
}

fn decoder(bytes: bool) -> Value {
    if bytes {
        return json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    }
    let space = json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "});
    json!({"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}]})
}

fn post_processor(vocabulary: &Vocabulary) -> Value {
    let (true, Some(id), Some(bos)) = (vocabulary.adds_bos, vocabulary.bos, vocabulary.token(vocabulary.bos)) else {
        return Value::Null;
    };
    let special = |kind: u8| json!({"SpecialToken": {"id": bos, "type_id": kind}});
    let sequence = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    let mut tokens = Map::new();
    tokens.insert(bos.to_owned(), json!({"id": bos, "ids": [id], "tokens": [bos]}));
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": tokens,
    })
}

/// Returns the tokens that are found in a text before it is cut, with their ids.
fn added(vocabulary: &Vocabulary) -> impl Iterator<Item = (usize, Value)> {
    let found = |id: &usize| vocabulary.is_special(*id) || vocabulary.kinds[*id] == TokenKind::UserDefined;
    (0..vocabulary.tokens.len()).filter(found).map(|id| {
        let token = json!({
            "id": id, "content": vocabulary.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": vocabulary.is_special(id),
        });
        (id, token)
    })
}

fn special_tokens(vocabulary: &Vocabulary) -> Value {
    let ids = [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("pad_token", vocabulary.pad),
        ("unk_token", vocabulary.unknown),
    ];
    let named = ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), vocabulary.token(id)?.into())));
    Value::Object(named.collect())
}

fn tokenizer_config(vocabulary: &Vocabulary, context: usize) -> Value {
    let decoder = added(vocabulary).map(|(id, mut token)| {
        if let Value::Object(keys) = &mut token {
            keys.shift_remove("id");
        }
        (id.to_string(), token)
    });
    let decoder: Map<String, Value> = decoder.collect();
    let mut config = json!({
        "add_bos_token": vocabulary.adds_bos,
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    if let (Value::Object(config), Value::Object(special)) = (&mut config, special_tokens(vocabulary)) {
        config.extend(special);
        if let Some(template) = &vocabulary.template {
            config.insert("chat_template".into(), template.as_str().into());
        }
    }
    config
}

fn generation_config(vocabulary: &Vocabulary) -> Value {
    let ends = match vocabulary.ends().as_slice() {
        [] => Value::Null,
        [only] => json!(only),
        many => json!(many),
    };
    json!({
        "_from_model_config": true,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": ends,
        "pad_token_id": vocabulary.pad,
    })
}
