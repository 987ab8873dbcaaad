//! `kind: sft`: supervised fine-tuning of all weights.
//!
//! The artifact is `model/`, a Hugging Face folder whose configuration and tokenizer are those of the model it began
//! with, and `log/loss.jsonl`, one line a step with what is the same in every run: no times. Prose is learned whole, a
//! chat where the assistant speaks. The result depends on the data, the settings and the seed alone: the order of
//! samples and every sum are fixed, whatever the number of threads.
//!
//! Left out as yet: checkpoints, evaluation on the way, other optimizers, other devices than the CPU.

mod optim;
mod pack;
mod samples;
mod schedule;
mod train;

use std::path::Path;

use super::fit::check_positions;
use super::{OpCx, OpError, Outcome};
use crate::data::{TemplateSettings, Tokenizer, copy_tokenizer};
use crate::model::{CausalLm, ModelError};
use crate::spec::params::SftParams;
use samples::Samples;
use train::Summary;

/// Files of a model folder, beside weights and tokenizer, that the trained model takes over. The second may be missing.
const CONFIG_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Runs the node.
pub(super) fn run(params: &SftParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let source = &cx.inputs.one("model")?.path;
    let mut model = CausalLm::load(source).map_err(|error| OpError::caused("cannot use the model", error))?;
    let tokenizer = Tokenizer::load_with(source, &template_settings(params)?)
        .map_err(|error| OpError::caused("cannot use the tokenizer of the model", error))?;
    check_fit(params, &model, &tokenizer)?;
    let samples = samples::read(params, &tokenizer, cx)?;
    let (out, log) = (cx.out.join("model"), cx.out.join("log"));
    fs_err::create_dir_all(&out)?;
    fs_err::create_dir_all(&log)?;
    let summary = train::train(&mut model, &samples.list, params, &log.join("loss.jsonl"), cx)?;
    save(&model, source, &out).map_err(|error| OpError::caused("cannot save the trained model", error))?;
    Ok(outcome(&samples, &summary))
}

/// Returns what the chat template is told beside the chats.
fn template_settings(params: &SftParams) -> Result<TemplateSettings, OpError> {
    let variables = params.template_variables.clone().into_iter().collect();
    let settings = TemplateSettings { variables, date: None };
    match &params.template_date {
        Some(date) => settings.on(date).map_err(|why| OpError::new(format!("`template_date`: {why}"))),
        None => Ok(settings),
    }
}

/// Fails early where training would fail late or teach nothing.
fn check_fit(params: &SftParams, model: &CausalLm, tokenizer: &Tokenizer) -> Result<(), OpError> {
    let config = model.config();
    let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if tokens > rows {
        return Err(OpError::new(format!("the tokenizer has {tokens} tokens, the model's embedding only {rows}")));
    }
    check_positions(config, "sequence_len", params.sequence_len)
}

fn save(model: &CausalLm, source: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for (index, name) in CONFIG_FILES.iter().enumerate() {
        let from = source.join(name);
        if index == 0 || from.is_file() {
            // Not `fs::copy`: the artifact it comes from is read-only, and the copy must not be.
            fs_err::write(out.join(name), fs_err::read(from)?)?;
        }
    }
    copy_tokenizer(source, out)?;
    model.save_weights(out).map_err(|error: ModelError| error.into())
}

fn outcome(samples: &Samples, summary: &Summary) -> Outcome {
    let metrics = [
        ("final_loss", summary.final_loss),
        ("steps", summary.steps as f64),
        ("tokens", summary.tokens as f64),
        ("trained_tokens", summary.trained_tokens as f64),
        ("samples", samples.list.len() as f64),
        ("truncated", samples.truncated as f64),
        ("dropped", samples.dropped as f64),
    ];
    let speed = summary.tokens as f64 / summary.duration.as_secs_f64().max(1e-9);
    Outcome {
        metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        measured: [("tokens_per_second".to_owned(), speed)].into(),
        device: None,
    }
}
