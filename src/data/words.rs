//! Text as token ids a word at a time, each word looked up before it is worked out.
//!
//! `tokenizers` copies a text several times with an origin for every byte, and makes a string of every token. For what byte-level
//! tokenizers do (Qwen, LFM2, SmolLM2, Llama 3, GPT-2 and those trained here) none of that is needed: a text is cut by
//! patterns, bytes become letters, and BPE joins the letters of a word. Only the last step is work, and most words have
//! been seen before.
//!
//! The ids are those of `tokenizers`, which still computes every new word. What is not plain (other normalizers, added tokens
//! that take white space, BPE with dropout) has no such way and goes through the library as a whole.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::utils::SysRegex;
use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};
use unicode_normalization::{IsNormalized, is_nfc_quick};

use super::control::ControlTokens;

/// GPT-2's pattern, which `ByteLevel` brings along.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Parts of the memory, each with a lock of its own.
const SHARDS: usize = 64;
/// Words that a part holds at most, and the length of the longest, in bytes: some ten megabytes in all.
const WORDS: usize = 2048;
const LONGEST: usize = 48;

/// How a text is cut.
enum Cut {
    /// What matches is a piece, and so is what lies between.
    Pattern(SysRegex),
    /// Each numeric character is a piece, or each stretch of them.
    Digits { individual: bool },
}

/// The ids of words.
type Known = HashMap<Box<str>, Box<[u32]>>;

/// The fast way from text to ids, for the tokenizers that it is known for.
pub(super) struct Words {
    cuts: Vec<Cut>,
    /// The letter of each byte.
    letters: [char; 256],
    /// Whether only text in this form (NFC) may go this way.
    composed: bool,
    /// The added tokens that are no control tokens.
    plain: ControlTokens,
    known: Vec<RwLock<Known>>,
}

/// Token ids and what they cover.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) ids: Vec<u32>,
    /// For each id bytes of the text: those it covers, or those of its word where no edge lies inside the word.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Covered {
    pub(super) fn push(&mut self, ids: &[u32], range: &Range<usize>) {
        self.ids.extend_from_slice(ids);
        self.ranges.resize(self.ids.len(), range.clone());
    }
}

impl Words {
    /// Returns the fast way of a tokenizer; nothing if it does something unknown.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let composed = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        match tokenizer.get_model() {
            ModelWrapper::BPE(bpe) if bpe.dropout.is_none() => {}
            _ => return None,
        }
        let added = tokenizer.get_added_tokens_decoder();
        let mut plain = added.values().filter(|token| !token.special);
        let normalized = plain.clone().next().is_some_and(|token| token.normalized);
        let simple = plain.all(|token| {
            let alone = token.lstrip || token.rstrip || token.single_word;
            !alone && token.normalized == normalized && (!composed || token.content.is_ascii())
        });
        if !simple {
            return None;
        }
        let cuts = cuts(tokenizer.get_pre_tokenizer()?)?;
        let known = (0..SHARDS).map(|_| RwLock::default()).collect();
        Some(Self { cuts, letters: letters(), composed, plain: ControlTokens::plain_of(tokenizer), known })
    }

    /// Adds the ids of a piece of text that begins at byte `at` and holds no name of a control token. Adds nothing and says no
    /// where the text must go the long way: it is not in the form that it would be brought to, or an edge lies inside a word.
    /// Edges are in order.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        at: usize,
        edges: &[usize],
        out: &mut Covered,
    ) -> bool {
        if self.composed && !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            return false;
        }
        let before = out.ids.len();
        let mut edges = edges[edges.partition_point(|edge| *edge <= at)..].iter().peekable();
        let mut done = true;
        for piece in self.plain.split(text, &[]) {
            let start = at + piece.range.start;
            if let Some(id) = piece.id {
                out.push(&[id], &(start..at + piece.range.end));
                continue;
            }
            each_word(&self.cuts, &text[piece.range], start, &mut |word, start| {
                let range = start..start + word.len();
                while edges.next_if(|edge| **edge <= range.start).is_some() {}
                let cut = edges.peek().is_some_and(|edge| **edge < range.end);
                done = done && !cut && self.word(tokenizer, word, |ids| out.push(ids, &range));
                done
            });
        }
        if !done {
            out.ids.truncate(before);
            out.ranges.truncate(before);
        }
        done
    }

    /// Gives the ids of a word to `take`; says no if there are none.
    fn word(&self, tokenizer: &tokenizers::Tokenizer, word: &str, take: impl FnOnce(&[u32])) -> bool {
        let shard = &self.known[shard(word)];
        if let Some(ids) = shard.read().unwrap_or_else(PoisonError::into_inner).get(word) {
            take(ids);
            return true;
        }
        let letters: String = word.bytes().map(|byte| self.letters[usize::from(byte)]).collect();
        let Ok(tokens) = tokenizer.get_model().tokenize(&letters) else { return false };
        let ids: Box<[u32]> = tokens.iter().map(|token| token.id).collect();
        take(&ids);
        if word.len() <= LONGEST {
            let mut known = shard.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() < WORDS {
                known.insert(word.into(), ids);
            }
        }
        true
    }
}

/// Calls `take` with every word and where it begins, until it says no.
fn each_word(cuts: &[Cut], text: &str, at: usize, take: &mut dyn FnMut(&str, usize) -> bool) -> bool {
    let Some((cut, rest)) = cuts.split_first() else { return text.is_empty() || take(text, at) };
    let mut piece = |from: usize, to: usize| from >= to || each_word(rest, &text[from..to], at + from, take);
    let mut behind = 0;
    let mut found = |from: usize, to: usize| {
        let all = piece(behind, from) && piece(from, to);
        behind = to;
        all
    };
    let all = match cut {
        Cut::Pattern(pattern) => pattern.find_iter(text).all(|(from, to)| found(from, to)),
        Cut::Digits { individual: true } => {
            text.char_indices().filter(|(_, c)| c.is_numeric()).all(|(from, c)| found(from, from + c.len_utf8()))
        }
        Cut::Digits { individual: false } => stretches(text).into_iter().all(|(from, to)| found(from, to)),
    };
    all && piece(behind, text.len())
}

/// Returns the cuts of a pre-tokenizer that ends with bytes as letters.
fn cuts(pre_tokenizer: &PreTokenizerWrapper) -> Option<Vec<Cut>> {
    let steps = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
        single => std::slice::from_ref(single),
    };
    let (PreTokenizerWrapper::ByteLevel(last), steps) = steps.split_last()? else { return None };
    if last.add_prefix_space {
        return None;
    }
    let cut = |step: &PreTokenizerWrapper| match step {
        PreTokenizerWrapper::Digits(digits) => Some(Cut::Digits { individual: digits.individual_digits }),
        PreTokenizerWrapper::Split(split) if split.behavior == SplitDelimiterBehavior::Isolated && !split.invert => {
            let SplitPattern::Regex(pattern) = &split.pattern else { return None };
            SysRegex::new(pattern).ok().map(Cut::Pattern)
        }
        _ => None,
    };
    let mut cuts = steps.iter().map(cut).collect::<Option<Vec<Cut>>>()?;
    if last.use_regex {
        cuts.push(Cut::Pattern(SysRegex::new(GPT2).ok()?));
    }
    Some(cuts)
}

/// Returns the letter of each byte: itself if it can be seen, and else the next one from 256 on. The library's own table is
/// not public; its alphabet is, and a test compares.
fn letters() -> [char; 256] {
    let mut next = 256;
    std::array::from_fn(|byte| {
        let seen = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if seen { byte as u32 } else { next };
        next += u32::from(!seen);
        char::from_u32(code).unwrap_or_default()
    })
}

/// Returns the stretches of numeric characters.
fn stretches(text: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (from, c) in text.char_indices().filter(|(_, c)| c.is_numeric()) {
        match found.last_mut() {
            Some((_, to)) if *to == from => *to += c.len_utf8(),
            _ => found.push((from, from + c.len_utf8())),
        }
    }
    found
}

/// FNV-1a, since the hash of the map is not to be had without it.
fn shard(word: &str) -> usize {
    let mixed = word.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (mixed ^ (mixed >> 16)) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn letters_are_the_alphabet_of_the_library() {
        let mut ours: Vec<char> = letters().into();
        let mut theirs: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }

    /// A tokenizer of bytes and some pairs, with an added token that is no control token.
    fn tokenizer(normalizer: &serde_json::Value, steps: &serde_json::Value) -> tokenizers::Tokenizer {
        let mut vocabulary: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
        for letter in letters() {
            vocabulary.insert(letter.to_string(), vocabulary.len().into());
        }
        let merges = [("e", "s"), ("Ġ", "l"), ("Ġl", "es"), ("Ã", "©"), ("1", "2"), ("Ċ", "Ċ")];
        for (left, right) in merges {
            vocabulary.insert(format!("{left}{right}"), vocabulary.len().into());
        }
        let pairs: Vec<String> = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        let added = json!([{"id": vocabulary.len(), "content": "<x>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": false}]);
        let file = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": pairs}});
        tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap()
    }

    fn tokenizers_of_all_kinds() -> Vec<tokenizers::Tokenizer> {
        let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let split = json!({"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": false});
        let digits = |individual: bool| json!({"type": "Digits", "individual_digits": individual});
        vec![
            tokenizer(&json!(null), &json!([digits(true), bytes(true)])),
            tokenizer(&json!(null), &json!([digits(false), bytes(true)])),
            tokenizer(&json!({"type": "NFC"}), &json!([split, bytes(false)])),
        ]
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_library(text in "([a-eés 12½\\n\\r\t<x>'e\u{301}が東😀]|<x>| les|\\PC){0,40}") {
            for tokenizer in tokenizers_of_all_kinds() {
                let words = Words::of(&tokenizer).unwrap();
                let expected = tokenizer.encode(text.as_str(), false).unwrap();
                for _ in 0..2 {
                    let mut found = Covered::default();
                    if words.encode(&tokenizer, &text, 5, &[], &mut found) {
                        prop_assert_eq!(found.ids.as_slice(), expected.get_ids());
                        let mut pairs = found.ranges.iter().zip(expected.get_offsets());
                        let covers = pairs.all(|(word, (start, end))| word.start <= 5 + start && 5 + end <= word.end);
                        prop_assert!(covers);
                    } else {
                        prop_assert!(!text.is_ascii() && found == Covered::default());
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_with_an_edge_inside_goes_the_long_way() {
        let tokenizer = tokenizers_of_all_kinds().remove(0);
        let words = Words::of(&tokenizer).unwrap();
        let encode = |edges: &[usize]| {
            let mut found = Covered::default();
            found.push(&[7], &(0..3));
            let done = words.encode(&tokenizer, "ab les", 3, edges, &mut found);
            (done, found.ids.len())
        };
        assert_eq!(encode(&[0, 3, 5, 9]), (true, 4));
        assert_eq!(encode(&[6]), (false, 1));
    }

    #[test]
    fn what_is_not_known_has_no_fast_way() {
        let prefix = json!([{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]);
        assert!(Words::of(&tokenizer(&json!(null), &prefix)).is_none());
        let bytes = json!([{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]);
        assert!(Words::of(&tokenizer(&json!({"type": "Lowercase"}), &bytes)).is_none());
        assert!(Words::of(&tokenizer(&json!(null), &json!([{"type": "Whitespace"}]))).is_none());
    }
}
