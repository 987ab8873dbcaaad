//! `kind: apply_lora`: a model with an adapter added to its weights.
//!
//! All is looked up before the first number is computed: where each of the adapter's tensors goes, and whether it fits. A
//! tensor that the adapter leaves alone is copied byte for byte. PEFT adds to a tied embedding or output layer in place and
//! so changes the other one with it, which was never trained like that; here the two are untied, and the model computes
//! what model and adapter together computed.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::adapter::{Adapter, Module};
use super::product::Product;
use super::tied::{self, OUTPUT};
use super::{InputArtifact, OpCx, OpError, copy_others, model_config, open, several};
use crate::ops::Outcome;
use crate::spec::params::ApplyLoraParams;
use crate::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, TensorError, View};

/// Numbers one thread computes at a time, in whole rows.
const PIECE: usize = 1 << 16;

/// Numbers between two looks at whether to stop.
const SEGMENT: usize = 1 << 22;

/// Where a tensor of the result comes from.
#[derive(Debug, Default)]
struct Planned<'a> {
    /// The tensor of the model that it starts from.
    base: String,
    /// The tensor of the adapter that takes the place of the model's.
    replaced: Option<&'a str>,
    /// The module whose product is added, and whether it lies the other way round.
    added: Option<(&'a str, &'a Module, bool)>,
    /// What is added to a bias, and times what.
    bias: Option<(&'a str, f32)>,
}

/// The tensors of the result by name.
type Plan<'a> = BTreeMap<String, Planned<'a>>;

/// Runs the node.
pub(in crate::ops) fn run(params: &ApplyLoraParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let (model, adapter) = (cx.inputs.one("model")?, cx.inputs.one("adapter")?);
    apply_adapter(model, (&adapter.name, &adapter.path), (cx.out, params.shard_size), cx)
}

/// Adds an adapter, by name and folder, to a model, and writes the result into a folder, in files of at most so many bytes.
pub(in crate::ops) fn apply_adapter(
    model: &InputArtifact,
    (name, adapter): (&str, &Path),
    (out, shard_size): (&Path, u64),
    cx: &OpCx<'_>,
) -> Result<Outcome, OpError> {
    let tensors = open(model)?;
    let config = model_config(&model.path)?;
    let adapter =
        Adapter::open(adapter).map_err(|error| OpError::caused(format!("cannot use the adapter `{name}`"), error))?;
    let tied = tied::tied(config.as_ref());
    let mut plan = plan(&tensors, &adapter, tied).map_err(|mistakes| {
        let head = format!("the adapter `{name}` does not fit the model `{}`:", model.name);
        several(&head, &mistakes).help("an adapter can only be applied to the model that it was trained on")
    })?;
    let untied = tied && keep_output(&mut plan, &tensors, &adapter);
    copy_others(&model.path, out)?;
    match config {
        Some(mut config) if untied => {
            config["tie_word_embeddings"] = false.into();
            let mut text = serde_json::to_string_pretty(&config).map_err(|error| OpError::io(out, error))?;
            text.push('\n');
            fs_err::write(out.join("config.json"), text)?;
        }
        Some(_) => fs_err::write(out.join("config.json"), fs_err::read(model.path.join("config.json"))?)?,
        None => {}
    }
    let declared: Vec<Declared> = plan.iter().filter_map(|(name, planned)| declare(name, planned, &tensors)).collect();
    let writer = ShardedWriter::create(out, &declared, shard_size).map_err(unwritable)?;
    let total: usize = declared.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    cx.progress.phase("applying", Some(total as u64), "parameters");
    let work = Work { tensors: &tensors, adapter: &adapter, writer: &writer, cx };
    let mut done = 0;
    for (number, planned) in plan.values().enumerate() {
        work.write(number, planned, &mut done)?;
    }
    writer.finish().map_err(unwritable)?;
    let changed = plan.values().filter(|planned| planned.changes()).count();
    let metrics = [("tensors", plan.len()), ("changed", changed), ("parameters", total)];
    let metrics = metrics.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect();
    Ok(Outcome { metrics, ..Outcome::default() })
}

fn unwritable(error: TensorError) -> OpError {
    OpError::caused("cannot write the weights", error)
}

fn declare(name: &str, planned: &Planned<'_>, tensors: &ModelTensors) -> Option<Declared> {
    let view = tensors.get(&planned.base)?;
    Some(Declared { name: name.to_owned(), dtype: view.dtype, shape: view.shape.to_vec() })
}

/// Returns where every tensor comes from, or all that does not fit.
fn plan<'a>(tensors: &ModelTensors, adapter: &'a Adapter, tied: bool) -> Result<Plan<'a>, Vec<String>> {
    let plain = |name: &str| (name.to_owned(), Planned { base: name.to_owned(), ..Planned::default() });
    // A stored copy of the embedding would stay behind when the embedding changes, and loaders do not look at it.
    let copy = |name: &&str| tied && *name == format!("{OUTPUT}.weight");
    let mut plan: Plan<'a> = tensors.names().filter(|name| !copy(name)).map(plain).collect();
    let mut mistakes = Vec::new();
    for (name, from) in &adapter.replaced {
        let module = name.strip_suffix(".weight");
        let base = if tensors.get(name).is_some() {
            Some(name.clone())
        } else {
            module.and_then(|module| tied::weight_of(tensors, module))
        };
        let Some(base) = base else {
            mistakes.push(format!("`{name}`: the model has no such tensor"));
            continue;
        };
        let (ours, theirs) = (tensors.get(&base).map_or(&[][..], |view| view.shape), adapter.shape(from));
        if ours != theirs {
            mistakes.push(format!("`{name}`: {theirs:?} in the adapter, {ours:?} in the model"));
        }
        plan.insert(name.clone(), Planned { base, replaced: Some(from), ..Planned::default() });
    }
    for (name, module) in &adapter.modules {
        if let Err(why) = add(&mut plan, tensors, adapter, name, module) {
            mistakes.push(format!("`{name}`: {why}"));
        }
    }
    // An adapter of a tied embedding was trained beside an output layer that stayed as it was.
    let output = format!("{OUTPUT}.weight");
    if let Some(embedding) = tied::embedding(tensors).filter(|_| tied && !adapter.config.keeps_tied)
        && plan.get(&embedding).is_some_and(Planned::changes)
        && !plan.contains_key(&output)
    {
        plan.insert(output, Planned { base: embedding, ..Planned::default() });
    }
    if mistakes.is_empty() { Ok(plan) } else { Err(mistakes) }
}

/// Plans what a module adds to its weight and its bias.
fn add<'a>(
    plan: &mut Plan<'a>,
    tensors: &ModelTensors,
    adapter: &'a Adapter,
    name: &'a str,
    module: &'a Module,
) -> Result<(), String> {
    let base = tied::weight_of(tensors, name).ok_or("the model has no such module")?;
    let weight = tensors.get(&base).map_or(&[][..], |view| view.shape);
    let (down, up) = (adapter.shape(&module.down), adapter.shape(&module.up));
    let (straight, other) = ([up[0], down[1]], [down[1], up[0]]);
    // As PEFT: what the configuration says about the way that weights lie is mended where it cannot be.
    let turned = module.embedding || weight != straight || (adapter.config.transposed && weight == other);
    if turned && weight != other {
        return Err(format!("matrices {down:?} and {up:?} in the adapter, the weight {weight:?} in the model"));
    }
    let planned = plan.entry(format!("{name}.weight")).or_insert(Planned { base, ..Planned::default() });
    planned.added = Some((name, module, turned));
    if let Some(from) = &module.bias {
        let bias = format!("{name}.bias");
        let shape = tensors.get(&bias).map(|view| view.shape);
        if shape != Some(adapter.shape(from)) {
            return Err(format!("the adapter adds to its bias, and the model has {shape:?} there"));
        }
        let planned = plan.entry(bias.clone()).or_insert(Planned { base: bias, ..Planned::default() });
        planned.bias = Some((from, adapter.config.scale(name)));
    }
    Ok(())
}

/// Decides about the output layer of a tied model: it is left out while it is the embedding. Returns whether it is not.
fn keep_output(plan: &mut Plan<'_>, tensors: &ModelTensors, adapter: &Adapter) -> bool {
    let name = format!("{OUTPUT}.weight");
    let Some(output) = plan.get(&name) else { return false };
    let same = tied::embedding(tensors).and_then(|embedding| plan.get(&embedding)).is_some_and(|embedding| {
        let bytes = |planned: &Planned<'_>| adapter.file.get(planned.replaced?).map(|view| (view.dtype, view.bytes));
        output.added.is_none()
            && embedding.added.is_none()
            && bytes(output).is_some()
            && bytes(output) == bytes(embedding)
    });
    if same {
        plan.remove(&name);
    }
    !same
}

impl Planned<'_> {
    fn changes(&self) -> bool {
        self.replaced.is_some() || self.added.is_some() || self.bias.is_some()
    }
}

/// What writing a tensor needs.
struct Work<'a> {
    tensors: &'a ModelTensors,
    adapter: &'a Adapter,
    writer: &'a ShardedWriter,
    cx: &'a OpCx<'a>,
}

impl Work<'_> {
    fn write(&self, number: usize, planned: &Planned<'_>, done: &mut usize) -> Result<(), OpError> {
        self.cx.check_cancelled()?;
        let missing = || OpError::new(format!("tensor `{}` is missing", planned.base));
        let base = self.tensors.get(&planned.base).ok_or_else(missing)?;
        let view = match planned.replaced {
            Some(name) => self.adapter.file.get(name).ok_or_else(missing)?,
            None => base,
        };
        let product = planned.added.map(|added| Product::new(self.adapter, added, &view, base.dtype));
        let bias = planned.bias.map(|(name, scale)| (self.adapter.numbers(name), scale));
        let columns = product.as_ref().map_or(1, |product| product.columns);
        let rows = (SEGMENT / columns).max(1) * columns;
        for from in (0..view.count()).step_by(rows) {
            self.cx.check_cancelled()?;
            let to = view.count().min(from + rows);
            let add = Add { product: product.as_ref(), bias: bias.as_ref(), columns };
            self.segment(number, &view, base.dtype, &add, from..to, planned)?;
            self.tensors.release(&planned.base, from, to);
            *done += to - from;
            self.cx.progress.position(*done as u64);
        }
        Ok(())
    }

    fn segment(
        &self,
        number: usize,
        view: &View<'_>,
        out: Dtype,
        add: &Add<'_>,
        range: std::ops::Range<usize>,
        planned: &Planned<'_>,
    ) -> Result<(), OpError> {
        if add.product.is_none() && add.bias.is_none() && view.dtype == out {
            let bytes = view.slice(range.start, range.len());
            return self.writer.write_at(number, range.start * out.size(), bytes).map_err(unwritable);
        }
        let piece = (PIECE / add.columns).max(1) * add.columns;
        let pieces = range.len().div_ceil(piece);
        let buffers = || (Vec::new(), Vec::new(), Vec::new());
        (0..pieces).into_par_iter().try_for_each_init(buffers, |(numbers, scratch, bytes), i| {
            let from = range.start + i * piece;
            let count = piece.min(range.end - from);
            numbers.resize(count, 0.0_f32);
            bytes.resize(count * out.size(), 0_u8);
            view.read_f32(from, numbers);
            if view.dtype != out {
                out.round(numbers);
            }
            add.to(from, numbers, scratch);
            if !numbers.iter().fold(true, |all, number| all & out.holds(*number)) {
                let message = format!("tensor `{}` with the adapter is infinite or undefined in {out}", planned.base);
                return Err(OpError::new(message).help("the adapter is broken, or its numbers are too large"));
            }
            out.write_f32(numbers, bytes);
            self.writer.write_at(number, from * out.size(), bytes).map_err(unwritable)
        })
    }
}

/// What is added to a tensor.
struct Add<'a> {
    product: Option<&'a Product>,
    bias: Option<&'a (Vec<f32>, f32)>,
    columns: usize,
}

impl Add<'_> {
    fn to(&self, from: usize, numbers: &mut [f32], scratch: &mut Vec<f32>) {
        if let Some(product) = self.product {
            product.add(from / self.columns, numbers, scratch);
        }
        if let Some((bias, scale)) = self.bias {
            numbers.iter_mut().zip(&bias[from..]).for_each(|(number, more)| *number += more * scale);
        }
    }
}
