//! How byte-level tokenizers cut a text before merges, by llama.cpp's names and as `tokenizer.json` has it.
//!
//! llama.cpp has a name for every way it knows and the code behind it; `tokenizer.json` spells the way out. A name that is
//! not here, or a spelling, is refused: a tokenizer that cuts otherwise gives other tokens in rare places.

use serde_json::{Value, json};

/// GPT-4's expression, with digits one by one.
const SINGLE_DIGITS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same, with up to three digits.
const TRIPLE_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A way to cut a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pre {
    Gpt2,
    Smollm,
    Qwen2,
    Llama3,
    Lfm2,
}

impl Pre {
    const ALL: [Pre; 5] = [Pre::Gpt2, Pre::Smollm, Pre::Qwen2, Pre::Llama3, Pre::Lfm2];

    /// Returns `tokenizer.ggml.pre` of a file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Pre::Gpt2 => "gpt-2",
            Pre::Smollm => "smollm",
            Pre::Qwen2 => "qwen2",
            Pre::Llama3 => "llama-bpe",
            Pre::Lfm2 => "lfm2",
        }
    }

    pub(super) fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|pre| pre.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|pre| pre.name()).collect();
            format!("is `{name}`; only {} can be read", known.join(", "))
        })
    }

    /// Returns whether llama.cpp puts a beginning-of-sequence token in front unless a file says otherwise.
    pub(super) fn adds_bos(self) -> bool {
        matches!(self, Pre::Llama3 | Pre::Lfm2)
    }

    /// Returns whether a piece that is a token as a whole is taken as that without looking at merges.
    pub(super) fn ignores_merges(self) -> bool {
        self == Pre::Llama3
    }

    /// Returns `normalizer` of a `tokenizer.json`. llama.cpp does not normalise.
    pub(super) fn normalizer(self) -> Value {
        if self == Pre::Qwen2 { json!({"type": "NFC"}) } else { Value::Null }
    }

    /// Returns `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn json(self) -> Value {
        let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let steps = match self {
            Pre::Gpt2 => return bytes(true),
            Pre::Smollm => json!([{"type": "Digits", "individual_digits": true}, bytes(true)]),
            Pre::Qwen2 => json!([split(SINGLE_DIGITS), bytes(false)]),
            Pre::Llama3 | Pre::Lfm2 => json!([split(TRIPLE_DIGITS), bytes(false)]),
        };
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    /// Finds the way that a `pre_tokenizer` spells out. Llama 3 and LFM2 cut alike; `lfm2` says which name to give it.
    pub(super) fn from_json(value: &Value, lfm2: bool) -> Option<Self> {
        let steps = plain(value);
        let found = Self::ALL.into_iter().find(|pre| plain(&pre.json()) == steps)?;
        Some(if found == Pre::Llama3 && lfm2 { Pre::Lfm2 } else { found })
    }
}

/// Returns the steps of a `pre_tokenizer` without what says nothing about where it cuts.
fn plain(value: &Value) -> Vec<Value> {
    if value["type"] == "Sequence" {
        let steps = value["pretokenizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        return steps.iter().flat_map(plain).collect();
    }
    let mut step = value.clone();
    if let Value::Object(keys) = &mut step {
        keys.remove("trim_offsets");
    }
    vec![step]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_known_by_its_spelling() {
        for pre in Pre::ALL {
            assert_eq!(Pre::from_json(&pre.json(), pre == Pre::Lfm2), Some(pre));
            assert_eq!(Pre::from_name(pre.name()), Ok(pre));
        }
        assert_eq!(Pre::from_json(&Value::Null, false), None);
        let mut other = Pre::Qwen2.json();
        other["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+".into();
        assert_eq!(Pre::from_json(&other, false), None);
    }
}
