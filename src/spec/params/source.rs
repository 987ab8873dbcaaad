//! `kind: source`: content from outside, pinned by digest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputType, Kind, Mistake, Output, Params};
use crate::digest::Digest;

/// Brings files from outside into the graph. The files enter the key by content, never by place or time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceParams {
    /// A data set: a path or a glob, relative to the pipeline file.
    #[serde(default, skip_serializing)]
    pub dataset: Option<String>,
    /// A model, relative to the pipeline file: a folder in Hugging Face layout, or a GGUF file. Of a folder only the files
    /// that lie directly in it are brought in; folders inside it are left out. A GGUF file becomes such a folder: its
    /// weights are decoded, tokenizer and chat template rebuilt. Llama, Qwen2, Qwen3, LFM2 and Gemma 3 can be read.
    #[serde(default, skip_serializing)]
    pub model: Option<String>,
    /// A LoRA adapter: a folder as PEFT writes it, relative to the pipeline file. Only the files that lie directly in it
    /// are brought in.
    #[serde(default, skip_serializing)]
    pub adapter: Option<String>,
    /// How the files of a data set are read; by file name when left out (`.jsonl`, `.txt`).
    #[serde(default)]
    pub format: Option<SourceFormat>,
    /// What becomes one row of a plain text file.
    #[serde(default)]
    pub rows: TextRows,
    /// How the weights of a GGUF file are stored once they are decoded; `bf16` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<WeightType>,
    /// The digest that the files must have (`blake3:…`, as `luthflow show` prints it); any other content is an error.
    #[serde(default, skip_serializing)]
    pub digest: Option<String>,
}

/// How the files of a data set are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// One JSON object a line: `{"text": …}`, `{"messages": […]}` or `{"good": …, "bad": …}`.
    Jsonl,
    /// Plain text, cut into rows as `rows` says.
    Text,
    /// Minimal pairs as CLAMS writes them: consecutive lines `True<TAB>sentence`, `False<TAB>sentence`.
    Clams,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// 16-bit numbers with the range of 32-bit ones (bfloat16).
    Bf16,
    /// 16-bit numbers (IEEE half precision).
    F16,
    /// 32-bit numbers.
    F32,
}

/// What becomes one row of a plain text file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextRows {
    /// Every non-empty line.
    #[default]
    Line,
    /// Every block of lines between empty ones.
    Paragraph,
    /// The whole file.
    File,
}

impl SourceParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "source";
}

impl Params for SourceParams {
    const KIND: Kind = Kind::Source;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = match (&self.model, &self.adapter) {
            (Some(_), _) => InputType::Model,
            (None, Some(_)) => InputType::Adapter,
            (None, None) => InputType::Dataset,
        };
        vec![Output { name: "".into(), path: "".into(), kind }]
    }

    fn check(&self) -> Vec<Mistake> {
        let help = "give `dataset: data/*.jsonl` or `model: path/to/model`";
        let given = [("dataset", &self.dataset), ("model", &self.model), ("adapter", &self.adapter)];
        let given: Vec<&str> = given.iter().filter(|(_, path)| path.is_some()).map(|(name, _)| *name).collect();
        let mut mistakes = match given[..] {
            [] => vec![Mistake::new("", "a source needs `dataset` or `model`").help(help)],
            [_] => Vec::new(),
            ["dataset", "model"] => {
                vec![Mistake::new("model", "a source is a data set or a model, not both").help(help)]
            }
            _ => vec![Mistake::new("adapter", "a source is one of a data set, a model and an adapter")],
        };
        if self.dtype.is_some() && self.model.is_none() {
            mistakes.push(Mistake::new("dtype", "only a model has a `dtype`").help("leave it out"));
        }
        if let Some(digest) = self.digest.as_ref().filter(|digest| digest.parse::<Digest>().is_err()) {
            let help = "`luthflow show` prints the one to write: `blake3:` and 64 hexadecimal digits";
            mistakes.push(Mistake::new("digest", format!("`{digest}` is no digest")).help(help));
        }
        mistakes
    }
}
