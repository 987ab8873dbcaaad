//! `kind: moe`: a mixture of experts from dense models, as `mergekit-moe` makes them.
//!
//! Everything but the experts is the base's; an expert is the feed-forward layers of its model. All names and shapes are
//! compared before anything is computed. Random numbers (routers, noise) are those of PyTorch in MergeKit's order, so a
//! seed gives the same file.

mod family;
mod gates;
mod prompts;
mod weights;
mod write;

use serde_json::{Map, Value};

use super::normal::Random;
use super::{InputArtifact, OpCx, OpError, Outcome, Parent, unwritable};
use crate::data::TOKENIZER_FILES;
use crate::ops::merge::metadata::copy;
use crate::spec::params::MoeParams;
use crate::tensor::{Dtype, ShardedWriter};
use family::Family;
use gates::Gates;
use weights::{Sizes, Weights};

/// Runs the node.
pub(in crate::ops) fn run(params: &MoeParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let base = Parent::open(cx.inputs.one("base_model")?)?;
    let mut experts = Vec::new();
    for (place, _) in params.all_experts() {
        let input: &InputArtifact = cx.inputs.one(&format!("{place}.source_model"))?;
        experts.push(Parent::open(input)?);
    }
    let types = std::iter::once(&base).chain(&experts).map(kind).collect::<Result<Vec<_>, _>>()?;
    let family = Family::choose(params, &types)?;
    let config = fields(&base)?;
    let sizes = sizes(&base, config)?;
    let dtype = dtype(params, &base, config)?;
    let weights = Weights { params, family, base: &base, experts: &experts, sizes, dtype };
    let plan = weights.plan()?;
    let mut random = Random::new(params.seed);
    let gates = Gates::make(params, family, &base, (sizes.layers, sizes.width), &mut random, cx)?;
    let degenerate = gates.degenerate();
    for name in TOKENIZER_FILES.iter().chain(&["generation_config.json"]) {
        copy(base.path, name, cx.out)?;
    }
    let config = Value::Object(family.config(config, params, dtype));
    let mut text = serde_json::to_string_pretty(&config).map_err(|error| OpError::io(cx.out, error))?;
    text.push('\n');
    fs_err::write(cx.out.join("config.json"), text)?;
    let writer = ShardedWriter::create(cx.out, &plan.declared, params.shard_size).map_err(unwritable)?;
    let parameters = weights.write(&plan, &gates, &mut random, &writer, cx)?;
    writer.finish().map_err(unwritable)?;
    let metrics = [
        ("tensors", plan.declared.len() as f64),
        ("parameters", parameters as f64),
        ("degenerate_layers", degenerate as f64),
    ];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Outcome { metrics, ..Outcome::default() })
}

fn fields<'a>(model: &'a Parent<'_>) -> Result<&'a Map<String, Value>, OpError> {
    let fields = model.config.as_ref().and_then(Value::as_object);
    fields.ok_or_else(|| OpError::new(format!("`{}` has no config.json that can be read", model.name)))
}

fn kind<'a>(model: &'a Parent<'_>) -> Result<&'a str, OpError> {
    let kind = fields(model)?.get("model_type").and_then(Value::as_str);
    kind.ok_or_else(|| OpError::new(format!("the config.json of `{}` has no `model_type`", model.name)))
}

fn sizes(base: &Parent<'_>, config: &Map<String, Value>) -> Result<Sizes, OpError> {
    let size = |name: &str| {
        let size = config.get(name).and_then(Value::as_u64).filter(|size| (1..1 << 24).contains(size));
        let missing = || OpError::new(format!("the config.json of `{}` has no sensible `{name}`", base.name));
        size.map(|size| size as usize).ok_or_else(missing)
    };
    Ok(Sizes { layers: size("num_hidden_layers")?, width: size("hidden_size")?, inner: size("intermediate_size")? })
}

/// Returns the type of the result: what is asked for, what the base says of itself, or what its first tensor is.
fn dtype(params: &MoeParams, base: &Parent<'_>, config: &Map<String, Value>) -> Result<Dtype, OpError> {
    let says = ["dtype", "torch_dtype"].iter().find_map(|key| config.get(*key)?.as_str());
    if let Some(name) = params.dtype.as_deref().or(says) {
        return Dtype::named(name).ok_or_else(|| {
            let message = format!("`{}` says that it is of type `{name}`, which cannot be written", base.name);
            OpError::new(message).help("give `dtype: bfloat16`, `float16` or `float32`")
        });
    }
    let first = base.tensors.names().next().and_then(|name| base.tensors.get(name));
    Ok(first.map_or(Dtype::F32, |view| view.dtype))
}
