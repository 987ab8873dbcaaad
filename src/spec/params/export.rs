//! `kind: export`: a model in the format of another program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Writes a model as a file for other programs: `model.gguf`, for llama.cpp and what is built on it.
///
/// Llama, Qwen2, Qwen3, LFM2 and Gemma 3 models can be exported, with tokenizer and chat template. Norms and other
/// vectors are always stored as 32-bit numbers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// The model.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The format.
    #[serde(default)]
    pub format: ExportFormat,
    /// How matrices are stored.
    #[serde(default)]
    pub r#type: ExportType,
    /// What the file says the model is called (`general.name`); nothing when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The format of an exported model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// GGUF, the format of llama.cpp.
    #[default]
    Gguf,
}

/// How the matrices of an exported model are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportType {
    /// 32-bit numbers.
    F32,
    /// 16-bit numbers (IEEE half precision).
    #[default]
    F16,
    /// 16-bit numbers with the range of 32-bit ones (bfloat16).
    Bf16,
    /// 8 bits a number, and a scale for every 32.
    Q8_0,
    /// llama.cpp's mixture of 4 and 6 bits a number.
    Q4KM,
}

impl ExportParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "export";
}

impl Params for ExportParams {
    const KIND: Kind = Kind::Export;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::one("model", &self.model, InputType::Model)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Files }]
    }

    fn check(&self) -> Vec<Mistake> {
        match &self.name {
            Some(name) if name.is_empty() => vec![Mistake::new("name", "the name is empty").help("leave it out")],
            _ => Vec::new(),
        }
    }
}
