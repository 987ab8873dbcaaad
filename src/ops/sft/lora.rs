//! Training adapters: where they stand, and what becomes of them.
//!
//! The model's weights are frozen, and optimizer, checkpoints and gradients know the adapters alone. At the end the adapter
//! is written as PEFT writes it; a merged model is made of that very folder by what `apply_lora` does. A merge that went
//! wrong looks like a model, so what was written is read again and held against model and adapter side by side.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::checkpoint::remove;
use super::samples::Sample;
use crate::model::{Adapter, CausalLm, LoraSettings, ModelError, Packed, mixed};
use crate::ops::lora::{AdapterTensor, apply_adapter, save_adapter};
use crate::ops::{InputArtifact, OpCx, OpError, Progress};
use crate::spec::params::{LoraOutput, LoraParams, SftParams, TargetModules, names_module};
use crate::tensor::{Dtype, round_bf16};

/// The place in the stream of the node's seed that dropout begins at; A begins one place later.
const DROPOUT: u64 = u64::MAX - 1;
/// Samples that model and merged model are compared on, and tokens of each.
const COMPARED: (usize, usize) = (4, 32);
/// How far logits may be apart, as a share of their size: where numbers are kept in f32, and where they are rounded to 16
/// bits. A merge that was forgotten or done twice is far beyond.
const ALLOWED: (f64, f64) = (1e-3, 0.1);
/// The most bytes of weights in one file.
const SHARD_SIZE: u64 = 5_000_000_000;

/// Returns what decides the numbers that dropout leaves out in a batch.
pub(super) fn dropout_seed(seed: u64, batch: u64) -> u64 {
    mixed(mixed(seed, DROPOUT), batch)
}

/// Freezes the model and puts adapters beside the chosen layers.
pub(super) fn attach(model: &mut CausalLm, lora: &LoraParams, params: &SftParams) -> Result<(), OpError> {
    check_targets(model, &lora.target_modules)?;
    if params.bf16 {
        // The optimizer rounds what it changes, and these it does not.
        for parameter in model.parameters() {
            parameter.update(|value, _| value.iter_mut().for_each(|number| *number = round_bf16(*number)));
        }
    }
    let settings = LoraSettings {
        rank: lora.r,
        scale: lora.scale() as f32,
        dropout: lora.lora_dropout as f32,
        dora: lora.use_dora,
        seed: params.seed,
    };
    model.attach(settings, |module| lora.target_modules.choose(module));
    Ok(())
}

/// Fails unless every name is that of a layer.
fn check_targets(model: &CausalLm, targets: &TargetModules) -> Result<(), OpError> {
    let TargetModules::Named(names) = targets else { return Ok(()) };
    let unknown = names.iter().find(|name| !model.linear_modules().any(|module| names_module(name, module)));
    let Some(unknown) = unknown else { return Ok(()) };
    let known: Vec<String> = last_names(model.linear_modules()).into_iter().map(|name| format!("`{name}`")).collect();
    let help = format!("those are {}, in all layers or by their paths", known.join(", "));
    let message =
        format!("`lora.target_modules`: the model has no `{unknown}` among the layers that can have an adapter");
    Err(OpError::new(message).help(help))
}

/// Returns the last parts of paths.
fn last_names<'a>(modules: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    modules.filter_map(|module| module.rsplit('.').next()).collect()
}

/// Returns the beginnings of the first samples.
pub(super) fn few<'a>(samples: impl Iterator<Item = &'a Sample>) -> Packed {
    let mut few = Packed::default();
    samples.take(COMPARED.0).for_each(|sample| few.push(&sample.ids[..sample.ids.len().min(COMPARED.1)]));
    few
}

/// Says nothing: to the training, a merge is one step of many.
struct Quiet;

impl Progress for Quiet {
    fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn position(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// Writes what a training of adapters gives.
pub(super) struct Keeper<'a> {
    params: &'a SftParams,
    lora: &'a LoraParams,
    source: &'a InputArtifact,
    compared: Packed,
    cx: &'a OpCx<'a>,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(
        params: &'a SftParams,
        lora: &'a LoraParams,
        compared: Packed,
        cx: &'a OpCx<'a>,
    ) -> Result<Self, OpError> {
        Ok(Self { params, lora, source: cx.inputs.one("model")?, compared, cx })
    }

    /// Writes the adapter or the merged model into a folder; returns figures about it.
    pub(super) fn save(&self, model: &CausalLm, out: &Path) -> Result<Vec<(&'static str, f64)>, OpError> {
        let trained: usize = model.trained_parameters().iter().map(|parameter| parameter.value().len()).sum();
        let mut metrics = vec![("trained_parameters", trained as f64)];
        if self.lora.output == LoraOutput::Adapter {
            self.write(model, out)?;
            return Ok(metrics);
        }
        let adapter = self.cx.scratch.join("adapter");
        remove(&adapter)?;
        self.write(model, &adapter)?;
        fs_err::create_dir_all(out)?;
        self.cx.progress.phase("merging", None, "");
        let cx = OpCx { progress: &Quiet, ..*self.cx };
        apply_adapter(self.source, ("the trained adapter", &adapter), (out, SHARD_SIZE), &cx)?;
        remove(&adapter)?;
        metrics.extend(self.compare(model, out)?);
        Ok(metrics)
    }

    fn write(&self, model: &CausalLm, out: &Path) -> Result<(), OpError> {
        let tensors = model
            .adapters()
            .flat_map(Adapter::parameters)
            .map(|parameter| {
                let part = &parameter.parts()[0];
                AdapterTensor { name: &part.name, shape: &part.shape, numbers: parameter.value() }
            })
            .collect();
        save_adapter(out, &self.config(model), tensors)
    }

    /// Returns what PEFT is told about the adapter.
    fn config(&self, model: &CausalLm) -> Value {
        let lora = self.lora;
        let targets: BTreeSet<&str> = match &lora.target_modules {
            TargetModules::AllLinear => last_names(model.adapters().map(Adapter::module)),
            TargetModules::Named(names) => names.iter().map(String::as_str).collect(),
        };
        let alpha = if lora.lora_alpha.fract() == 0.0 { json!(lora.lora_alpha as i64) } else { json!(lora.lora_alpha) };
        json!({
            "alpha_pattern": {},
            "base_model_name_or_path": null,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": alpha,
            "lora_dropout": lora.lora_dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": lora.r,
            "rank_pattern": {},
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": lora.use_dora,
            "use_rslora": lora.use_rslora,
        })
    }

    /// Reads a merged model and compares it with the one that was trained, on a few samples. The figures are distances of
    /// logits as shares of their size: of the merged model, and of the model that training began with.
    fn compare(&self, model: &CausalLm, merged: &Path) -> Result<[(&'static str, f64); 2], OpError> {
        let failed = |error: ModelError| OpError::caused("cannot look at the merged model", error);
        let wanted = model.logits(&self.compared).map_err(failed)?;
        let start = model.logits_without_adapters(&self.compared).map_err(failed)?;
        let merged = CausalLm::load(merged).map_err(failed)?.logits(&self.compared).map_err(failed)?;
        let (apart, learned) = (distance(&merged, &wanted), distance(&start, &wanted));
        let exact = model.config().dtype == Dtype::F32 && !self.params.bf16;
        let allowed = if exact { ALLOWED.0 } else { ALLOWED.1 };
        if !apart.is_finite() || apart > allowed {
            let message = format!("the merged model computes something else: its logits are {apart:.1e} off");
            let help = "keep the adapter apart (`lora.output: adapter`), or learn less (`learning_rate`)";
            return Err(OpError::new(message).help(help));
        }
        if learned > 0.0 && apart > learned / 2.0 {
            let lost = "rounding the merged weights takes away much of what was learned";
            self.cx.progress.note(&format!("{lost}: logits moved by {learned:.1e} and are {apart:.1e} off"));
        }
        Ok([("merge_difference", apart), ("adapter_difference", learned)])
    }
}

/// Returns `|a - b| / |b|`.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let length = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let difference = length(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / length(&mut b.iter().map(|b| f64::from(*b)))
}
