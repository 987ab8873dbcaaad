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
mod lengths;
mod log;
mod lora;
mod memo;
mod objective;
mod optim;
mod pack;
mod preference;
mod samples;
mod schedule;
mod state;
mod train;
mod turns;

pub use lengths::{Lengths, lengths};
pub(super) use pack::sequences_of;

use std::collections::BTreeMap;
use std::path::Path;

use super::fit::check_positions;
use super::{OpCx, OpError, Outcome};
use crate::data::{TemplateSettings, Tokenizer, copy_tokenizer};
use crate::model::{Branches, CausalLm, EarlyExit, ModelError, Packed};
use crate::spec::params::{ExitHead, LongSamples, SftParams};
use crate::tensor::device_suffix;
use lora::Keeper;
use objective::{NextToken, Objective};
use preference::Preferences;
use state::State;
use train::{Summary, Trainer, Work};

/// Files of a model folder, beside weights and tokenizer, that the trained model takes over. The second may be missing.
const CONFIG_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Runs the node.
pub(super) fn run(params: &SftParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    // First: a device that is not to be had should not be heard of after minutes.
    let device = cx.open_device()?;
    let source = &cx.inputs.one("model")?.path;
    let mut model = load(params, source, cx).map_err(|error| OpError::caused("cannot use the model", error))?;
    let tokenizer = Tokenizer::load_with(source, &template_settings(params)?)
        .map_err(|error| OpError::caused("cannot use the tokenizer of the model", error))?;
    check_fit(params, &model, &tokenizer)?;
    if let Some(lora) = &params.lora {
        lora::attach(&mut model, lora, params)?;
    }
    if !device.is_cpu() {
        model.move_to(&device).map_err(|error| OpError::caused("cannot move the model to the device", error))?;
    }
    let data = Data::read(params, &tokenizer, &model, cx)?;
    drop(tokenizer);
    let keeper = params.lora.as_ref().map(|lora| Keeper::new(params, lora, data.few(), cx)).transpose()?;
    let save = |model: &CausalLm, out: &Path| match &keeper {
        Some(keeper) => keeper.save(model, out),
        None => save(model, source, out)
            .map(|()| trained_part(model, params))
            .map_err(|error| OpError::caused("cannot save the trained model", error)),
    };
    let save_only = |model: &CausalLm, out: &Path| save(model, out).map(drop);
    let work = Work { params, cx, objective: data.objective(), save: &save_only };
    let summary = Trainer::begin(&mut model, work)?.run()?;
    let more = save(&model, &cx.out.join(params.result().0))?;
    let device = device_suffix(&device).map(str::to_owned);
    Ok(Outcome { device, ..outcome(params, &data, &summary, more) })
}

/// Loads the model to start from, with its exits if they are trained.
fn load(params: &SftParams, source: &Path, cx: &OpCx<'_>) -> Result<CausalLm, ModelError> {
    let Some(exits) = &params.early_exit else {
        let model = CausalLm::load(source)?;
        if model.config().early_exit.as_ref().is_some_and(|exits| !exits.layers.is_empty()) {
            cx.progress.warn("the exits of the model are left out: they are trained on with `early_exit` alone");
        }
        return Ok(model);
    };
    let branches = exits.branches.as_ref().map(|of| Branches { layers: of.layers.clone(), factor: of.factor });
    let wanted = EarlyExit { layers: exits.layers.clone(), own_heads: exits.head == ExitHead::Own, branches };
    let weights: Vec<f32> = exits.weights().iter().map(|weight| *weight as f32).collect();
    let mut model = CausalLm::load_with_exits(source, &wanted, &weights)?;
    if exits.freeze_backbone {
        model.freeze_backbone();
    }
    Ok(model)
}

/// Returns how many weights were trained, where that is a part.
fn trained_part(model: &CausalLm, params: &SftParams) -> Vec<(&'static str, f64)> {
    let count = || model.trained_parameters().iter().map(|one| one.value().len()).sum::<usize>();
    let frozen = params.early_exit.as_ref().is_some_and(|exits| exits.freeze_backbone);
    frozen.then(|| ("trained_parameters", count() as f64)).into_iter().collect()
}

/// What is learned from.
enum Data {
    Texts(NextToken),
    Pairs(Preferences),
}

impl Data {
    fn read(params: &SftParams, tokenizer: &Tokenizer, model: &CausalLm, cx: &OpCx<'_>) -> Result<Self, OpError> {
        if let Some(dpo) = &params.dpo {
            let mut pairs = Preferences::read(dpo, params, tokenizer, cx)?;
            if dpo.reference.is_some() {
                let path = &cx.inputs.one("dpo.reference")?.path;
                let failed = |error| OpError::caused("cannot use the reference", error);
                let reference = CausalLm::load(path).map_err(failed)?;
                check_fit(params, &reference, tokenizer)?;
                pairs.ask(&reference, cx)?;
            } else {
                pairs.ask(model, cx)?;
            }
            return Ok(Data::Pairs(pairs));
        }
        let samples = samples::read("data", params, tokenizer, cx)?;
        let evaluation =
            if params.eval_data.is_empty() { None } else { Some(samples::read("eval_data", params, tokenizer, cx)?) };
        NextToken::new(samples, evaluation, params).map(Data::Texts)
    }

    fn objective(&self) -> &dyn Objective {
        match self {
            Data::Texts(texts) => texts,
            Data::Pairs(pairs) => pairs,
        }
    }

    /// Returns the beginnings of a few samples, to compare models on.
    fn few(&self) -> Packed {
        match self {
            Data::Texts(texts) => lora::few(texts.samples.list.iter()),
            Data::Pairs(pairs) => lora::few(pairs.chosen()),
        }
    }

    /// Returns how many samples or pairs there are to learn from and kept apart, how many were cut, and left out.
    fn counts(&self) -> [usize; 4] {
        match self {
            Data::Texts(texts) => {
                let samples = &texts.samples;
                [samples.list.len(), texts.held_out.len(), samples.counts.truncated, samples.counts.dropped]
            }
            Data::Pairs(pairs) => {
                let (learned, held_out) = pairs.counts();
                [learned, held_out, pairs.truncated, pairs.dropped]
            }
        }
    }
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

fn outcome(params: &SftParams, data: &Data, summary: &Summary, more: Vec<(&'static str, f64)>) -> Outcome {
    let state = &summary.state;
    let [samples, held_out, truncated, dropped] = data.counts();
    let mut metrics = vec![
        ("final_loss", state.final_loss()),
        ("steps", state.step as f64),
        ("tokens", state.tokens as f64),
        ("trained_tokens", state.trained_tokens as f64),
        ("samples", samples as f64),
        ("truncated", truncated as f64),
        ("dropped", dropped as f64),
        ("gflops", gflops(state)),
    ];
    metrics.extend(more);
    if let (LongSamples::Split, Data::Texts(texts)) = (params.long_samples, data) {
        metrics.push(("split", texts.samples.counts.split as f64));
    }
    if state.spikes > 0 {
        metrics.push(("loss_spikes", state.spikes as f64));
    }
    if let (Some(last), Some((step, best))) = (state.last_evaluation(), state.best()) {
        metrics.push(("eval_loss", last));
        if params.dpo.is_none() {
            metrics.push(("eval_perplexity", last.exp()));
        }
        metrics.extend([("best_eval_loss", best), ("best_step", step as f64)]);
        metrics.push(("eval_samples", held_out as f64));
    }
    // Not among the metrics, though equal in equal runs: lockfiles from before would no longer be what a run gives.
    let mut measured = vec![
        ("tokens_per_second", summary.tokens_per_second),
        ("gflops_per_second", summary.flops_per_second / 1e9),
        ("samples_seen", state.samples as f64),
        ("flops", state.flops()),
    ];
    if state.recomputed_flops() > 0.0 {
        measured.push(("recomputed_flops", state.recomputed_flops()));
    }
    if summary.failed_checkpoints > 0 {
        measured.push(("failed_checkpoints", summary.failed_checkpoints as f64));
    }
    let named = |figures: Vec<(&str, f64)>| figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut metrics: BTreeMap<String, f64> = named(metrics);
    metrics.extend(state.exit_figures());
    Outcome { metrics, measured: named(measured), device: None }
}

/// Returns the operations in billions: rounded for each step, as in lockfiles from before, unless nothing is left of a
/// model so small.
fn gflops(state: &State) -> f64 {
    if state.gflops == 0 { state.flops() / 1e9 } else { state.gflops as f64 }
}
