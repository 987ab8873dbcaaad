//! A tokenizer as a Hugging Face model folder holds it: `tokenizer.json` and what belongs to it.
//!
//! Nothing is added to a text on its own account: no beginning-of-sequence token, no truncation, no padding, whatever
//! the files say. Training and evaluation put [`Tokenizer::document_start`] and [`Tokenizer::document_end`] where they
//! belong. The name of a special token inside a text stays text, unlike in transformers: [`super::control`] says why.
//! Only [`Tokenizer::encode_prompt`], for text that a person types at a model, does as transformers does.

use std::collections::BTreeSet;
use std::io::Read;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::Value;

use super::control::{ControlTokens, Piece};
use super::template::{ChatTemplate, SpecialTokens, TemplateSettings};
use super::words::{Covered, Words};
use super::{DataError, beginning, growth};

/// The files of a model folder that belong to its tokenizer. Only the first one must be there.
pub const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// What separates documents in Qwen's and SmolLM2's vocabularies, and in those trained here.
pub(super) const DOCUMENT: &str = "<|endoftext|>";
/// What begins a turn of a ChatML chat.
pub(super) const TURN_START: &str = "<|im_start|>";
/// What ends a turn of a ChatML chat.
pub(super) const TURN_END: &str = "<|im_end|>";
/// What ends a turn: in ChatML, Llama 3, Gemma.
const TURN_ENDS: [&str; 3] = [TURN_END, "<|eot_id|>", "<end_of_turn>"];

/// The greatest size of a file of a tokenizer, in bytes. The largest real one (Gemma's) has 33 MB.
const LARGEST_FILE: u64 = 256 << 20;

/// Turns text into token ids.
pub struct Tokenizer {
    /// Takes the names of special tokens for text.
    inner: tokenizers::Tokenizer,
    control: ControlTokens,
    /// The fast way to ids, if there is one.
    words: Option<Words>,
    template: Option<ChatTemplate>,
    folder: PathBuf,
    vocab_size: usize,
    /// What belongs before and behind a text that is a whole input: mostly a beginning-of-sequence token, or nothing.
    around: (Vec<u32>, Vec<u32>),
    /// The tokens that stand for one byte, where bytes that spell no character are decoded together.
    bytes: BTreeSet<u32>,
    /// The tokens that begin and end a sequence, by the configuration.
    sequence_start: Option<u32>,
    sequence_end: Option<u32>,
    document_start: u32,
    document_end: u32,
    turn_end: Option<u32>,
}

impl Tokenizer {
    /// Loads the tokenizer of a model folder.
    pub fn load(dir: &Path) -> Result<Self, DataError> {
        Self::load_with(dir, &TemplateSettings::default())
    }

    /// Loads the tokenizer of a model folder, with what its chat template is to be told for every chat.
    pub fn load_with(dir: &Path, settings: &TemplateSettings) -> Result<Self, DataError> {
        let bad = |reason: String| DataError::BadTokenizer { path: dir.to_owned(), reason };
        let bytes = read_bounded(&dir.join("tokenizer.json"))?;
        // Some of what the file may hold is taken for granted there, and ends in a panic.
        let read = catch_unwind(|| tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| error.to_string()));
        let read = read.unwrap_or_else(|_| Err("a part of it cannot be read".into()));
        let mut inner = read.map_err(|error| bad(format!("tokenizer.json: {error}")))?;
        inner.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        inner.with_padding(None);
        growth::check(&inner).map_err(|error| bad(format!("tokenizer.json: {error}")))?;
        let around = around(&inner).map_err(|error| bad(format!("tokenizer.json: {error}")))?;
        inner.set_encode_special_tokens(true);
        let (control, words) = (ControlTokens::of(&inner), Words::of(&inner));
        let config = read_config(dir, "tokenizer_config.json")?;
        let tokens = special_tokens(&config, &read_config(dir, "special_tokens_map.json")?);
        let id = |token: &str| inner.token_to_id(token);
        let named = |variable: &str| tokens.get(variable).and_then(id);
        let no_separator = || bad(format!("it has neither {DOCUMENT} nor an `eos_token`"));
        let document_end = id(DOCUMENT).or_else(|| named("eos_token")).ok_or_else(no_separator)?;
        let document_start = id(DOCUMENT).or_else(|| named("bos_token")).unwrap_or(document_end);
        let turn_end = TURN_ENDS.iter().find_map(|name| id(name));
        let (sequence_start, sequence_end) = (named("bos_token"), named("eos_token"));
        let around = with_start(around, &config["add_bos_token"], named("bos_token"));
        let bytes = byte_tokens(&inner);
        let template = match template_source(dir, &config)? {
            Some(source) => Some(ChatTemplate::new(&source, tokens, settings).map_err(bad)?),
            None => None,
        };
        // Ids may have gaps, and an embedding needs a row for the greatest one.
        let greatest = inner.get_vocab(true).into_values().max();
        let vocab_size = greatest.map_or(0, |id| id as usize + 1);
        let folder = dir.to_owned();
        Ok(Self {
            inner,
            control,
            words,
            template,
            folder,
            vocab_size,
            around,
            bytes,
            sequence_start,
            sequence_end,
            document_start,
            document_end,
            turn_end,
        })
    }

    /// Returns the token ids of a text, without special tokens around it or in it: their names are text like any other.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut out = Covered::default();
        self.add_words(text, 0, &[], &mut out)?;
        Ok(out.ids)
    }

    /// Returns the token ids of a text in which the names of special tokens are those tokens, as in transformers.
    pub fn encode_with_control(&self, text: &str) -> Result<Vec<u32>, DataError> {
        self.encode_rendered(text, &[], &[]).map(|covered| covered.ids)
    }

    /// Returns the token ids of a text that is a whole input, as transformers makes them: the names of special tokens are
    /// those tokens, and the beginning-of-sequence token comes first if the tokenizer asks for one. A text that begins
    /// with it already does not get a second one.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let ids = self.encode_with_control(text)?;
        let (before, behind) = &self.around;
        let before = if ids.starts_with(before) { &[][..] } else { before };
        Ok([before, &ids, behind].concat())
    }

    /// Returns the token ids of a text, and for each bytes of the text that say on which side of the edges it lies: those it
    /// covers, or more where no edge is near. The names of special tokens are those tokens, except at the bytes in `literal`.
    /// Edges and bytes are in order.
    pub(super) fn encode_rendered(&self, text: &str, literal: &[usize], edges: &[usize]) -> Result<Covered, DataError> {
        let mut out = Covered::default();
        for Piece { range, id } in self.control.split(text, literal) {
            match id {
                Some(id) => out.push(&[id], &range),
                None => self.add_words(&text[range.clone()], range.start, edges, &mut out)?,
            }
        }
        Ok(out)
    }

    /// Adds the token ids of a piece of text that begins at byte `at`; names of special tokens in it are text.
    fn add_words(&self, text: &str, at: usize, edges: &[usize], out: &mut Covered) -> Result<(), DataError> {
        // Where a name is text, the library has its own rules about what else may begin there.
        let fast = self.words.as_ref().filter(|_| !self.control.is_in(text));
        if fast.is_some_and(|words| words.encode(&self.inner, text, at, edges, out)) {
            return Ok(());
        }
        let encoding = self.inner.encode(text, false).map_err(|error| tokenize_error(text, &*error))?;
        for (id, (start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            out.push(&[*id], &(at + start..at + end));
        }
        Ok(())
    }

    /// Returns the text of token ids, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        let failed = |error| DataError::BadTokenizer { path: self.folder.clone(), reason: format!("{error}") };
        self.inner.decode(ids, false).map_err(failed)
    }

    /// Returns the text of token ids without special tokens.
    pub fn decode_visible(&self, ids: &[u32]) -> Result<String, DataError> {
        let failed = |error| DataError::BadTokenizer { path: self.folder.clone(), reason: format!("{error}") };
        self.inner.decode(ids, true).map_err(failed)
    }

    /// Says whether a token is a special one, which has no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.control.holds(id)
    }

    /// Says whether a token stands for one byte, whose text depends on the bytes around it.
    pub(super) fn is_byte(&self, id: u32) -> bool {
        self.bytes.contains(&id)
    }

    /// Says whether there is a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Fails if a model of so many token ids has none for some token of this tokenizer.
    pub fn check_fits(&self, model_vocab_size: usize) -> Result<(), DataError> {
        if self.vocab_size <= model_vocab_size {
            return Ok(());
        }
        let greatest = self.vocab_size - 1;
        let reason =
            format!("it has a token {greatest}, and the model knows {model_vocab_size} tokens; it is another model's");
        Err(DataError::BadTokenizer { path: self.folder.clone(), reason })
    }

    /// Returns how many rows an embedding needs: one more than the greatest token id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the token before a document: `<|endoftext|>`, or the beginning-of-sequence token of other families.
    pub fn document_start(&self) -> u32 {
        self.document_start
    }

    /// Returns the token after a document: `<|endoftext|>`, or the end-of-sequence token of other families.
    pub fn document_end(&self) -> u32 {
        self.document_end
    }

    /// Returns the token that begins a sequence, by the tokenizer's configuration.
    pub fn sequence_start(&self) -> Option<u32> {
        self.sequence_start
    }

    /// Returns what belongs before a text that is a whole input.
    pub(super) fn before(&self) -> &[u32] {
        &self.around.0
    }

    /// Returns the chat template as it is written.
    pub fn template_source(&self) -> Option<String> {
        let config = read_config(&self.folder, "tokenizer_config.json").ok()?;
        template_source(&self.folder, &config).ok()?
    }

    /// Returns the token that ends a sequence, by the tokenizer's configuration.
    pub fn sequence_end(&self) -> Option<u32> {
        self.sequence_end
    }

    /// Returns the token that ends a turn of a chat.
    pub fn turn_end(&self) -> Option<u32> {
        self.turn_end
    }

    pub(super) fn control(&self) -> &ControlTokens {
        &self.control
    }

    pub(super) fn template(&self) -> Result<&ChatTemplate, DataError> {
        let missing = || DataError::BadTokenizer {
            path: self.folder.clone(),
            reason: "it has no chat template; add `chat_template` to tokenizer_config.json".into(),
        };
        self.template.as_ref().ok_or_else(missing)
    }
}

/// Copies the files of a tokenizer from one model folder to another.
pub fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), DataError> {
    for (i, name) in TOKENIZER_FILES.iter().enumerate() {
        let source = from.join(name);
        if i == 0 || source.is_file() {
            // Not `fs::copy`: the artifact it may come from is read-only, and the copy must not be.
            fs::write(to.join(name), fs::read(source)?)?;
        }
    }
    Ok(())
}

fn tokenize_error(text: &str, error: &(dyn std::error::Error + Send + Sync)) -> DataError {
    DataError::Tokenize { start: beginning(text), reason: error.to_string() }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, DataError> {
    // A pipe would be waited for.
    if !fs::metadata(path)?.is_file() {
        let reason = "it is not a regular file".into();
        return Err(DataError::BadTokenizer { path: path.to_owned(), reason });
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        let reason = format!("the file is larger than {LARGEST_FILE} bytes");
        return Err(DataError::BadTokenizer { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

/// Returns a file of settings; an empty object if there is none.
fn read_config(dir: &Path, name: &str) -> Result<Value, DataError> {
    let path = dir.join(name);
    if !path.is_file() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(&read_bounded(&path)?)
        .map_err(|error| DataError::BadTokenizer { path, reason: error.to_string() })
}

fn special_tokens(config: &Value, map: &Value) -> SpecialTokens {
    // A token is its text, or an object with its text in `content`.
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    let token = |name: &'static str| {
        let known = config.get(name).or_else(|| map.get(name))?;
        Some((name, text(known)?))
    };
    let names = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
    SpecialTokens(names.into_iter().filter_map(token).collect())
}

/// Returns what the post-processor puts before and behind a text.
fn around(tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), Box<dyn std::error::Error + Send + Sync>> {
    let plain = tokenizer.encode("a", false)?;
    let whole = tokenizer.encode("a", true)?;
    let (plain, whole) = (plain.get_ids(), whole.get_ids());
    let at = (0..=whole.len().saturating_sub(plain.len())).find(|at| whole[*at..].starts_with(plain));
    Ok(at.map_or_else(Default::default, |at| (whole[..at].to_vec(), whole[at + plain.len()..].to_vec())))
}

/// Lets `add_bos_token` have its say, which transformers asks before the post-processor.
fn with_start((mut before, behind): (Vec<u32>, Vec<u32>), add: &Value, start: Option<u32>) -> (Vec<u32>, Vec<u32>) {
    match (add.as_bool(), start) {
        (Some(true), Some(start)) if !before.contains(&start) => before.insert(0, start),
        (Some(false), Some(start)) => before.retain(|id| *id != start),
        _ => {}
    }
    (before, behind)
}

/// Returns the tokens `<0x00>` to `<0xFF>` if they are decoded to bytes.
fn byte_tokens(tokenizer: &tokenizers::Tokenizer) -> BTreeSet<u32> {
    let falls_back = tokenizer.get_decoder().is_some_and(|decoder| {
        serde_json::to_string(decoder).is_ok_and(|decoder| decoder.contains("\"ByteFallback\""))
    });
    let byte = |byte: u32| tokenizer.token_to_id(&format!("<0x{byte:02X}>"));
    if falls_back { (0..256).filter_map(byte).collect() } else { BTreeSet::new() }
}

/// Returns the chat template: the file of its own if there is one, otherwise the one in the configuration, and of
/// several there the one called `default`.
fn template_source(dir: &Path, config: &Value) -> Result<Option<String>, DataError> {
    let path = dir.join("chat_template.jinja");
    if path.is_file() {
        let not_utf8 = |_| DataError::BadTokenizer { path: path.clone(), reason: "it is not UTF-8".into() };
        return String::from_utf8(read_bounded(&path)?).map(Some).map_err(not_utf8);
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
