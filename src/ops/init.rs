//! `kind: init`: a model with random weights, as a whole Hugging Face folder.
//!
//! Each weight is drawn from a stream of its own, named by the place of its tensor in the model, so that a draw does not
//! depend on who drew before it and tensors can be drawn at the same time. Norms begin as ones and biases as
//! zeros, as in transformers.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{OpCx, OpError, Outcome};
use crate::data::{CHATML_TEMPLATE, Tokenizer, copy_tokenizer};
use crate::model::{self, Config, ModelError, Parameter, ParameterKind, parameters_of, save_weights};
use crate::spec::params::{Architecture, ChatTemplate, InitParams};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Transformers prefers this file to the template in `tokenizer_config.json`.
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Runs the node.
pub(super) fn run(params: &InitParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let source = &cx.inputs.one("tokenizer")?.path;
    let tokenizer = Tokenizer::load(source).map_err(|error| OpError::caused("cannot use the tokenizer", error))?;
    let config = config(params, &tokenizer)?;
    copy_tokenizer(source, cx.out).map_err(|error| OpError::caused("cannot copy the tokenizer", error))?;
    set_template(cx.out, params.chat_template)?;
    write_configs(cx.out, params, &config, &tokenizer)?;
    cx.check_cancelled()?;
    let parameters = draw(params, &config, cx)?;
    save_weights(cx.out, &config, &parameters).map_err(model_error)?;
    let count: usize = parameters.iter().flat_map(Parameter::parts).map(model::Part::count).sum();
    let metrics = [("parameters", count as f64), ("vocab_size", config.vocab_size as f64)];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Outcome { metrics, ..Outcome::default() })
}

fn model_error(error: ModelError) -> OpError {
    OpError::caused("cannot make the model", error)
}

/// Returns the configuration that a `config.json` with these settings would give, so that what is written is what is
/// drawn.
fn config(params: &InitParams, tokenizer: &Tokenizer) -> Result<Config, OpError> {
    let shape = serde_json::to_value(&params.config).map_err(|error| OpError::new(error.to_string()))?;
    let Value::Object(mut keys) = shape else { return Err(OpError::new("`config` is no object")) };
    let model = match params.architecture {
        Architecture::Qwen3 => model::Architecture::Qwen3,
        Architecture::Qwen2 => model::Architecture::Qwen2,
        Architecture::Llama => model::Architecture::Llama,
        Architecture::Lfm2 => model::Architecture::Lfm2,
        Architecture::Gemma3 => model::Architecture::Gemma3,
    };
    keys.insert("model_type".into(), model.model_type().into());
    keys.insert("vocab_size".into(), tokenizer.vocab_size().into());
    keys.insert("torch_dtype".into(), "float32".into());
    match params.architecture {
        Architecture::Qwen3 | Architecture::Qwen2 => {
            let window = params.config.sliding_window.is_some();
            keys.insert("use_sliding_window".into(), window.into());
            keys.insert("max_window_layers".into(), 0.into());
        }
        Architecture::Lfm2 => {
            keys.insert("norm_eps".into(), params.config.rms_norm_eps.into());
            keys.insert("block_auto_adjust_ff_dim".into(), false.into());
        }
        Architecture::Gemma3 => {
            keys.entry("query_pre_attn_scalar").or_insert(params.config.head_dim.into());
        }
        Architecture::Llama => {}
    }
    Config::from_keys(keys).map_err(|reason| OpError::new(format!("`config` cannot be: {reason}")))
}

fn set_template(dir: &Path, template: ChatTemplate) -> Result<(), OpError> {
    let ChatTemplate::Chatml = template;
    let path = dir.join(TOKENIZER_CONFIG);
    let mut config = if path.is_file() {
        serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?
    } else {
        json!({})
    };
    let Value::Object(keys) = &mut config else {
        return Err(OpError::new(format!("{TOKENIZER_CONFIG} of the tokenizer is not an object")));
    };
    keys.insert("chat_template".into(), CHATML_TEMPLATE.into());
    let other = dir.join(TEMPLATE_FILE);
    if other.exists() {
        fs_err::remove_file(other)?;
    }
    write_json(&path, &config)
}

fn write_configs(dir: &Path, params: &InitParams, config: &Config, tokenizer: &Tokenizer) -> Result<(), OpError> {
    let (end, turn_end) = (tokenizer.document_end(), tokenizer.turn_end());
    write_json(&dir.join("config.json"), &config.to_json(params.initializer_range, end, turn_end))?;
    let stops: Vec<u32> = turn_end.into_iter().chain([end]).collect();
    let generation = json!({"bos_token_id": end, "eos_token_id": stops, "pad_token_id": end});
    write_json(&dir.join("generation_config.json"), &generation)
}

fn write_json(path: &Path, value: &Value) -> Result<(), OpError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| OpError::io(path, error))?;
    text.push('\n');
    Ok(fs_err::write(path, text)?)
}

fn draw(params: &InitParams, config: &Config, cx: &OpCx<'_>) -> Result<Vec<Parameter>, OpError> {
    let outlines = parameters_of(config);
    cx.progress.phase("drawing weights", Some(outlines.len() as u64), "weights");
    let draw = |(stream, outline): (usize, model::Outline)| {
        cx.check_cancelled()?;
        let count = outline.parts.iter().map(model::Part::count).sum();
        let value = match outline.kind {
            // Gemma stores the distance from one.
            ParameterKind::Norm => vec![if config.norm_offset { 0.0 } else { 1.0 }; count],
            // Only adapters have magnitudes, and a model is drawn without any.
            ParameterKind::Bias | ParameterKind::Magnitude => vec![0.0; count],
            ParameterKind::Matrix | ParameterKind::Table | ParameterKind::Convolution => {
                normals(params.seed, stream as u64, count, params.initializer_range)
            }
        };
        Ok(Parameter::new(outline, value))
    };
    outlines.into_par_iter().enumerate().map(draw).collect()
}

/// Draws from a normal distribution around zero, two numbers from two uniform ones (Box and Muller 1958).
fn normals(seed: u64, stream: u64, count: usize, deviation: f64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    // 53 random bits, moved off zero, where the logarithm has no value.
    let mut uniform = || ((generator.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let mut out = Vec::with_capacity(count + 1);
    while out.len() < count {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
        out.push((deviation * radius * angle.cos()) as f32);
        out.push((deviation * radius * angle.sin()) as f32);
    }
    out.truncate(count);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_of_a_normal_distribution() {
        let values = normals(3, 1, 100_001, 0.5);
        let moment = |power: i32| values.iter().map(|v| (f64::from(*v) / 0.5).powi(power)).sum::<f64>() / 100_001.0;
        assert!(moment(1).abs() < 0.01 && moment(3).abs() < 0.05);
        assert!((moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        assert_eq!(normals(3, 1, 10, 1.0), normals(3, 1, 11, 1.0)[..10]);
        assert_ne!(normals(3, 1, 10, 1.0), normals(3, 2, 10, 1.0));
        assert_ne!(normals(3, 1, 10, 1.0), normals(4, 1, 10, 1.0));
    }
}
