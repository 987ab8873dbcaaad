//! What a model folder itself says about generating: `generation_config.json`, and the end token in `config.json`.
//!
//! As in transformers, a folder that does not say `do_sample: true` is used greedily, whatever else it says. Unlike in
//! transformers, a `top_k` that is not there means none, and not 50: nothing that is written nowhere has an influence.

use std::path::Path;

use fs_err as fs;
use serde_json::Value;

use super::{GenerateError, Sampling};

/// Files larger than this are no settings.
const LARGEST_FILE: u64 = 16 << 20;

/// What a model folder asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The tokens that end a text.
    pub end_tokens: Vec<u32>,
    /// The temperature that is meant once one samples, even if the folder is used greedily.
    pub temperature: f32,
}

impl Defaults {
    /// Reads the settings of a model folder.
    pub fn load(dir: &Path) -> Result<Self, GenerateError> {
        let own = read(&dir.join("generation_config.json"))?;
        let model = read(&dir.join("config.json"))?;
        let bad = |name: &str| GenerateError::Config {
            file: dir.join("generation_config.json"),
            reason: format!("`{name}` is {}, which is no setting", own[name]),
        };
        let number = |name: &str| match &own[name] {
            Value::Null => Ok(None),
            value => value.as_f64().map(|number| Some(number as f32)).ok_or_else(|| bad(name)),
        };
        let temperature = number("temperature")?.unwrap_or(1.0);
        let mut sampling = Sampling {
            temperature: if own["do_sample"] == true { temperature } else { 0.0 },
            top_k: number("top_k")?.map_or(0, |k| k as usize),
            top_p: number("top_p")?.unwrap_or(1.0),
            min_p: number("min_p")?.unwrap_or(0.0),
            repetition_penalty: number("repetition_penalty")?.unwrap_or(1.0),
        };
        sampling.check().map_err(|error| GenerateError::Config {
            file: dir.join("generation_config.json"),
            reason: error.to_string(),
        })?;
        if own["do_sample"] != true {
            // transformers ignores them, with a warning.
            sampling = Sampling { repetition_penalty: sampling.repetition_penalty, ..Sampling::greedy() };
        }
        let mut end_tokens = Vec::new();
        for value in [&own["eos_token_id"], &model["eos_token_id"]] {
            let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            end_tokens.extend(ids.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
        }
        end_tokens.sort_unstable();
        end_tokens.dedup();
        Ok(Self { sampling, end_tokens, temperature })
    }
}

/// Returns the settings in a file; none if it is not there.
fn read(path: &Path) -> Result<Value, GenerateError> {
    let bad = |reason: String| GenerateError::Config { file: path.to_owned(), reason };
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let size = fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(bad(format!("it has {size} bytes, which is no settings")));
    }
    let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
}
