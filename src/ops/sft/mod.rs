//! `kind: sft`: supervised fine-tuning of all weights, or of adapters beside them.
//!
//! The artifact is `model/`, a Hugging Face folder whose configuration and tokenizer are those of the model it began
//! with, `epoch1/` … if they are wanted, and `log/`: a line a step in `loss.jsonl` and a line an evaluation in `eval.jsonl`,
//! with what is the same in every run: no times. Prose is learned whole, a
//! chat where the assistant speaks. The result depends on the data, the settings and the seed alone: the order of
//! samples and every sum are fixed, whatever the number of threads.
//!
//! [`train`] is the loop, [`objective`] what it makes smaller, [`pack`] in which order, [`optim`] how weights change,
//! [`checkpoint`] how a killed training goes on, and [`lora`] what is different where adapters are trained. These come out
//! as `adapter/` or added to the weights of `model/`.

mod checkpoint;
mod log;
mod lora;
mod objective;
mod optim;
mod pack;
mod samples;
mod schedule;
mod state;
mod train;
mod turns;

use std::path::Path;

use super::fit::check_positions;
use super::{OpCx, OpError, Outcome};
use crate::data::{TemplateSettings, Tokenizer, copy_tokenizer};
use crate::model::{CausalLm, ModelError};
use crate::spec::params::{LongSamples, SftParams};
use lora::Keeper;
use objective::NextToken;
use train::{Summary, Trainer, Work};

/// Files of a model folder, beside weights and tokenizer, that the trained model takes over. The second may be missing.
const CONFIG_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Runs the node.
pub(super) fn run(params: &SftParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let source = &cx.inputs.one("model")?.path;
    let mut model = CausalLm::load(source).map_err(|error| OpError::caused("cannot use the model", error))?;
    let tokenizer = Tokenizer::load_with(source, &template_settings(params)?)
        .map_err(|error| OpError::caused("cannot use the tokenizer of the model", error))?;
    check_fit(params, &model, &tokenizer)?;
    if let Some(lora) = &params.lora {
        lora::attach(&mut model, lora, params)?;
    }
    let samples = samples::read("data", params, &tokenizer, cx)?;
    let evaluation = match params.eval_data.is_empty() {
        true => None,
        false => Some(samples::read("eval_data", params, &tokenizer, cx)?),
    };
    let objective = NextToken::new(samples, evaluation, params)?;
    let keeper = match &params.lora {
        Some(lora) => Some(Keeper::new(params, lora, &objective, cx)?),
        None => None,
    };
    let save = |model: &CausalLm, out: &Path| match &keeper {
        Some(keeper) => keeper.save(model, out),
        None => save(model, source, out)
            .map(|()| Vec::new())
            .map_err(|error| OpError::caused("cannot save the trained model", error)),
    };
    let work = Work { params, cx, objective: &objective, save: &|model, out| save(model, out).map(drop) };
    let summary = Trainer::begin(&mut model, work)?.run()?;
    let more = save(&model, &cx.out.join(params.result().0))?;
    Ok(outcome(params, &objective, &summary, more))
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
    fs_err::create_dir_all(out)?;
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

fn outcome(params: &SftParams, objective: &NextToken, summary: &Summary, more: Vec<(&'static str, f64)>) -> Outcome {
    let (state, samples) = (&summary.state, &objective.samples);
    let mut metrics = vec![
        ("final_loss", state.final_loss()),
        ("steps", state.step as f64),
        ("tokens", state.tokens as f64),
        ("trained_tokens", state.trained_tokens as f64),
        ("samples", samples.list.len() as f64),
        ("truncated", samples.truncated as f64),
        ("dropped", samples.dropped as f64),
    ];
    metrics.extend(more);
    if params.long_samples == LongSamples::Split {
        metrics.push(("split", samples.split as f64));
    }
    if state.spikes > 0 {
        metrics.push(("loss_spikes", state.spikes as f64));
    }
    if let (Some(last), Some((step, best))) = (state.last_evaluation(), state.best()) {
        metrics.extend([("eval_loss", last), ("eval_perplexity", last.exp())]);
        metrics.extend([("best_eval_loss", best), ("best_step", step as f64)]);
        metrics.push(("eval_samples", objective.held_out.len() as f64));
    }
    let measured =
        [("tokens_per_second", summary.tokens_per_second), ("gflops_per_second", summary.gflops_per_second)];
    Outcome {
        metrics: metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        measured: measured.map(|(name, value)| (name.to_owned(), value)).into(),
        device: None,
    }
}
