//! Training a byte-level BPE tokenizer and writing it in Hugging Face layout.
//!
//! Text is cut as Qwen2 and Qwen3 cut it (GPT-4's expression with single digits), so the same code path serves the
//! tokenizers made here and the real ones. The ids are: the 256 bytes, then the merges in the order they were learned,
//! then the special tokens `<|endoftext|>`, `<|im_start|>`, `<|im_end|>` as the *last* three, as in Qwen's vocabulary.
//!
//! The same words give the same bytes: the merges are our own ([`super::merges`] says why), and so is the order of what is
//! written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use tokenizers::{NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::merges::{Learned, learn};
use super::tokenizer::{DOCUMENT, TURN_END, TURN_START};
use super::{CHATML_TEMPLATE, DataError, Row, beginning};

/// Where a word ends, for merges: Qwen2's expression.
const SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The special tokens, in the order of their ids.
const SPECIAL: [&str; 3] = [DOCUMENT, TURN_START, TURN_END];

/// How often each word occurs in the training text.
pub struct WordCounts {
    cutter: tokenizers::Tokenizer,
    words: BTreeMap<String, u64>,
}

impl WordCounts {
    /// Returns the counts of no text.
    pub fn new() -> Result<Self, DataError> {
        let json = tokenizer_json(&Learned { vocabulary: Vec::new(), merges: Vec::new() });
        let cutter = tokenizers::Tokenizer::from_bytes(json.to_string())
            .map_err(|error| DataError::BadTokenizer { path: "tokenizer.json".into(), reason: error.to_string() })?;
        Ok(Self { cutter, words: BTreeMap::new() })
    }

    /// Counts the words of some rows, in parallel. Of a pair only the correct sentence counts.
    pub fn add(&mut self, rows: &[Row]) -> Result<(), DataError> {
        let counts = rows.par_iter().map(|row| self.count(row)).collect::<Result<Vec<_>, _>>()?;
        for (word, count) in counts.into_iter().flatten() {
            *self.words.entry(word).or_default() += count;
        }
        Ok(())
    }

    fn count(&self, row: &Row) -> Result<BTreeMap<String, u64>, DataError> {
        let mut words = BTreeMap::new();
        for text in texts(row) {
            let text = &*text;
            let failed =
                |error: tokenizers::Error| DataError::Tokenize { start: beginning(text), reason: error.to_string() };
            let mut normal = NormalizedString::from(text);
            if let Some(normalizer) = self.cutter.get_normalizer() {
                normalizer.normalize(&mut normal).map_err(failed)?;
            }
            let mut cut = PreTokenizedString::from(normal);
            if let Some(pre_tokenizer) = self.cutter.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut cut).map_err(failed)?;
            }
            for (word, ..) in cut.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                if let Some(count) = words.get_mut(word) {
                    *count += 1;
                } else {
                    words.insert(word.to_owned(), 1);
                }
            }
        }
        Ok(words)
    }
}

/// Returns the texts of a row that a tokenizer learns from.
fn texts(row: &Row) -> Vec<Cow<'_, str>> {
    match row {
        Row::Text(text) => vec![text.into()],
        Row::Chat(chat) => chat.messages.iter().map(|message| message.content.text()).collect(),
        Row::Preference(both) => both.chosen.messages.iter().map(|message| message.content.text()).collect(),
        Row::Pair { good, .. } => vec![good.into()],
    }
}

/// A trained tokenizer.
pub struct Bpe(Learned);

/// Trains a tokenizer of exactly `vocab_size` entries, special tokens included, whose merges each stand for a pair that
/// occurs at least `min_frequency` times.
pub fn train_bpe(counts: &WordCounts, vocab_size: usize, min_frequency: u64) -> Result<Bpe, DataError> {
    let ordinary = vocab_size.saturating_sub(SPECIAL.len());
    let learned = learn(&counts.words, &alphabet(), ordinary, min_frequency);
    let possible = learned.vocabulary.len() + SPECIAL.len();
    if possible == vocab_size {
        Ok(Bpe(learned))
    } else {
        Err(DataError::VocabularySize { wanted: vocab_size, possible })
    }
}

impl Bpe {
    /// Writes the tokenizer into a folder, as [`super::Tokenizer::load`] and Hugging Face's libraries read it.
    pub fn write(&self, dir: &Path) -> Result<(), DataError> {
        let write = |name: &str, value: &Value| fs::write(dir.join(name), format!("{value:#}\n"));
        write("tokenizer.json", &tokenizer_json(&self.0))?;
        write("tokenizer_config.json", &config_json(self.0.vocabulary.len()))?;
        write("special_tokens_map.json", &special_tokens_json())?;
        Ok(())
    }
}

/// Returns the characters that stand for the 256 bytes, in the order of their ids. As in GPT-2, a byte that is a printable
/// Latin-1 character stands for itself, and the others are the characters from U+0100 on.
fn alphabet() -> Vec<char> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut characters: Vec<char> = (0..=255).filter(|&byte| printable(byte)).map(char::from).collect();
    let others = 256 - characters.len();
    characters.extend(('\u{100}'..).take(others));
    characters
}

/// Returns the special tokens with their ids.
fn special_ids(ordinary: usize) -> impl Iterator<Item = (usize, &'static str)> {
    SPECIAL.iter().enumerate().map(move |(i, &token)| (ordinary + i, token))
}

fn tokenizer_json(learned: &Learned) -> Value {
    let name = |id: u32| learned.vocabulary[id as usize].as_str();
    let vocabulary: Map<String, Value> =
        learned.vocabulary.iter().cloned().zip((0..).map(|id: u32| id.into())).collect();
    let merges: Vec<[&str; 2]> = learned.merges.iter().map(|&(a, b)| [name(a), name(b)]).collect();
    let added: Vec<Value> = special_ids(learned.vocabulary.len())
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes]},
        "post_processor": bytes,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}

fn config_json(ordinary: usize) -> Value {
    let decoder: Map<String, Value> = special_ids(ordinary)
        .map(|(id, token)| {
            let entry = json!({"content": token, "lstrip": false, "normalized": false, "rstrip": false,
                               "single_word": false, "special": true});
            (id.to_string(), entry)
        })
        .collect();
    json!({
        "add_bos_token": false,
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": [TURN_START],
        "bos_token": null,
        "chat_template": CHATML_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": TURN_END,
        "errors": "replace",
        "pad_token": DOCUMENT,
        "split_special_tokens": false,
        // Not Qwen2TokenizerFast: the generic class takes everything from tokenizer.json and brings no rules of its own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    })
}

fn special_tokens_json() -> Value {
    json!({"additional_special_tokens": [TURN_START], "eos_token": TURN_END, "pad_token": DOCUMENT})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_crate() {
        let mut theirs: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        theirs.sort_unstable();
        assert_eq!(alphabet(), theirs);
    }

    #[test]
    fn learns_what_the_tokenizers_crate_learns() {
        use tokenizers::models::bpe::{BPE, BpeTrainer};
        let text = fs::read_to_string("pipelines/data/fr_novels/FRA00501_Balzac.txt").unwrap();
        let rows: Vec<Row> = text.lines().take(200).map(|line| Row::Text(line.to_owned())).collect();
        let mut counts = WordCounts::new().unwrap();
        counts.add(&rows).unwrap();
        let ours = train_bpe(&counts, 1003, 2).unwrap().0;

        let trainer = BpeTrainer::builder()
            .vocab_size(1000)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(alphabet().into_iter().collect())
            .build();
        let theirs = counts.words.iter().map(|(word, &count)| (word.as_str().into(), count)).collect();
        let mut model = BPE::default();
        trainer.do_train(&theirs, &mut model).unwrap();
        for (id, token) in ours.vocabulary.iter().enumerate() {
            assert_eq!(tokenizers::Model::token_to_id(&model, token), Some(id as u32), "{token}");
        }
        assert_eq!(tokenizers::Model::get_vocab_size(&model), ours.vocabulary.len());
    }

    #[test]
    fn too_little_text_is_an_error_that_says_how_many_entries_it_yields() {
        let mut counts = WordCounts::new().unwrap();
        counts.add(&[Row::Text("abab abab".into())]).unwrap();
        let error = train_bpe(&counts, 300, 2).err().unwrap();
        assert!(matches!(error, DataError::VocabularySize { wanted: 300, possible } if possible < 300), "{error}");
        assert!(matches!(train_bpe(&counts, 10, 2).err().unwrap(), DataError::VocabularySize { possible: 259, .. }));
    }
}
