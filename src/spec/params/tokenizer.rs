//! `kind: tokenizer`: a byte-level BPE trained on the pipeline's own data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Trains a byte-level BPE tokenizer (the kind Qwen and Llama 3 use) and writes it in Hugging Face layout.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerParams {
    /// The data sets to train on.
    #[serde(skip_serializing)]
    pub data: Vec<InputRef>,
    /// The number of entries, special tokens included.
    #[serde(default = "default_vocab_size")]
    pub vocab_size: usize,
    /// The fewest times a pair must occur to be merged.
    #[serde(default = "default_min_frequency")]
    pub min_frequency: u64,
}

fn default_vocab_size() -> usize {
    4096
}

fn default_min_frequency() -> u64 {
    2
}

impl TokenizerParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "tokenizer";
}

impl Params for TokenizerParams {
    const KIND: Kind = Kind::Tokenizer;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let slot = |(i, from)| Input::one(format!("data[{i}]"), from, InputType::Dataset);
        self.data.iter().enumerate().map(slot).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Tokenizer }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.data.is_empty() {
            mistakes.push(Mistake::new("data", "there is no data to train on"));
        }
        if self.vocab_size < 300 {
            let message = format!("{} entries cannot hold the 256 bytes and the special tokens", self.vocab_size);
            mistakes.push(Mistake::new("vocab_size", message).help("use 300 or more"));
        }
        mistakes
    }
}
