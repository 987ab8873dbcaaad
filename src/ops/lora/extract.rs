//! `kind: extract_lora`: the difference of a model to its base as an adapter, by singular values.
//!
//! As `mergekit-extract-lora`: the difference is taken in the type of the models, decomposed in f32, cut to its largest
//! singular values and stored in the type of the models. How many are kept is known only afterwards, so the thin matrices
//! wait in the scratch folder until the header of the file can be written. A module of which nothing is left (`sv_epsilon`)
//! is left out and named in `exclude_modules`; MergeKit would write matrices of rank 0, which PEFT does not load. A bias
//! that has changed is stored whole; MergeKit writes its difference under a name that PEFT drops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde_json::json;

use super::adapter::{PREFIX, WEIGHTS};
use super::factors::{Choice, Pair};
use super::save::{unwritable, write_config};
use super::svd::{Cut, decompose};
use super::{OpCx, OpError, model_config, open, tied};
use crate::ops::Outcome;
use crate::spec::params::ExtractLoraParams;
use crate::tensor::{Declared, Dtype, TensorWriter};

/// Bytes copied at a time.
const BLOCK: usize = 1 << 22;

/// A decomposed module.
struct Thin {
    module: String,
    embedding: bool,
    rank: usize,
    dtype: Dtype,
    /// The lengths of the module's matrix: of the rows that go in, and those that come out.
    inside: usize,
    outside: usize,
    kept: f64,
    all: f64,
    /// Where its matrices wait, one after the other.
    file: PathBuf,
}

/// Runs the node.
pub(in crate::ops) fn run(params: &ExtractLoraParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let (model, base) = (cx.inputs.one("model")?, cx.inputs.one("base")?);
    let tied = tied::tied(model_config(&model.path)?.as_ref());
    let (tensors, base) = (open(model)?, open(base)?);
    let pair = Pair { base: &base, model: &tensors, tied };
    let choice = pair.choose(params)?;
    fs_err::create_dir_all(cx.scratch)?;
    let thin = decompose_all(params, &pair, &choice, cx)?;
    let (kept, dropped): (Vec<Thin>, Vec<Thin>) = thin.into_iter().partition(|thin| thin.rank > 0);
    if kept.is_empty() {
        let help = "lower `sv_epsilon`, or look at `include_regex` and `exclude_regex`";
        return Err(OpError::new("no module of the model is left to extract").help(help));
    }
    write(&pair, &choice, &kept, cx)?;
    let config = adapter_config(params, &choice, &kept, &dropped);
    write_config(cx.out, &config)?;
    for thin in kept.iter().chain(&dropped) {
        fs_err::remove_file(&thin.file)?;
    }
    let sum = |part: fn(&Thin) -> f64| kept.iter().chain(&dropped).map(part).sum::<f64>();
    let all = sum(|thin| thin.all);
    let explained = if all > 0.0 { sum(|thin| thin.kept) / all } else { 1.0 };
    let rank = kept.iter().map(|thin| thin.rank).max().unwrap_or(0);
    let metrics = [("modules", kept.len() as f64), ("rank", rank as f64), ("explained", explained)];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Outcome { metrics, ..Outcome::default() })
}

fn decompose_all(
    params: &ExtractLoraParams,
    pair: &Pair<'_>,
    choice: &Choice,
    cx: &OpCx<'_>,
) -> Result<Vec<Thin>, OpError> {
    cx.progress.phase("decomposing", Some(choice.thin.len() as u64), "modules");
    let done = AtomicU64::new(0);
    let one = |(number, (module, embedding)): (usize, &(String, bool))| {
        cx.check_cancelled()?;
        let file = cx.scratch.join(format!("factors-{number}"));
        let thin = thin(params, pair, module, *embedding, file)
            .map_err(|why| OpError::new(format!("cannot decompose `{module}`: {why}")))?;
        cx.progress.position(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(thin)
    };
    choice.thin.par_iter().enumerate().map(one).collect()
}

fn thin(
    params: &ExtractLoraParams,
    pair: &Pair<'_>,
    module: &str,
    embedding: bool,
    file: PathBuf,
) -> Result<Thin, String> {
    let name = format!("{module}.weight");
    let (Some(model), Some(base)) = (pair.model.get(&name), pair.base.get(&name)) else {
        return Err("one of the models does not have it".into());
    };
    let dtype = model.dtype.promote(base.dtype);
    let mut difference = model.to_f32();
    difference.iter_mut().zip(base.to_f32()).for_each(|(number, base)| *number -= base);
    dtype.round(&mut difference);
    for tensors in [pair.model, pair.base] {
        tensors.release(&name, 0, difference.len());
    }
    let [rows, columns] = *model.shape else { return Err(format!("its shape is {:?}", model.shape)) };
    // An embedding's rows are what goes in, so it is decomposed the other way round.
    let decomposed = if embedding {
        let turned: Vec<f32> = (0..difference.len()).map(|i| difference[i % rows * columns + i / rows]).collect();
        drop(difference);
        decompose(&turned, columns)?
    } else {
        decompose(&difference, rows)?
    };
    let cut = Cut { most: params.max_rank, epsilon: params.sv_epsilon, distribute: params.distribute_scale };
    let rank = decomposed.rank(&cut);
    let (kept, all) = decomposed.energy(rank);
    let dtype = params.dtype.as_deref().and_then(Dtype::named).unwrap_or(dtype);
    let (mut down, mut up) = decomposed.thin(rank, cut.distribute, dtype);
    down.append(&mut up);
    fs_err::write(&file, down).map_err(|error| error.to_string())?;
    let (inside, outside) = if embedding { (rows, columns) } else { (columns, rows) };
    Ok(Thin { module: module.to_owned(), embedding, rank, dtype, inside, outside, kept, all, file })
}

/// What a tensor of the file is copied from.
enum From<'a> {
    Model(&'a str),
    /// The bytes of a waiting file, from here to there.
    Waiting(&'a Thin, usize, usize),
}

fn write(pair: &Pair<'_>, choice: &Choice, kept: &[Thin], cx: &OpCx<'_>) -> Result<(), OpError> {
    let mut all: Vec<(Declared, From<'_>)> = Vec::new();
    for thin in kept {
        let name = |part: &str| {
            let kind = if thin.embedding { format!("lora_embedding_{part}") } else { format!("lora_{part}.weight") };
            format!("{PREFIX}{}.{kind}", thin.module)
        };
        let middle = thin.rank * thin.inside * thin.dtype.size();
        let end = middle + thin.rank * thin.outside * thin.dtype.size();
        let declared = |name, shape: [usize; 2]| Declared { name, dtype: thin.dtype, shape: shape.to_vec() };
        all.push((declared(name("A"), [thin.rank, thin.inside]), From::Waiting(thin, 0, middle)));
        all.push((declared(name("B"), [thin.outside, thin.rank]), From::Waiting(thin, middle, end)));
    }
    for (name, from) in &choice.whole {
        let view = pair.model.get(from).ok_or_else(|| OpError::new(format!("the model has no tensor `{from}`")))?;
        let declared = Declared { name: format!("{PREFIX}{name}"), dtype: view.dtype, shape: view.shape.to_vec() };
        all.push((declared, From::Model(from)));
    }
    // The order of the reference implementation: wide types first, then by name.
    all.sort_by(|(a, _), (b, _)| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
    let declared: Vec<Declared> = all.iter().map(|(declared, _)| declared.clone()).collect();
    let mut writer = TensorWriter::create(&cx.out.join(WEIGHTS), &declared).map_err(unwritable)?;
    for (declared, from) in &all {
        cx.check_cancelled()?;
        match from {
            From::Model(name) => {
                let bytes = pair.model.get(name).map_or(&[][..], |view| view.bytes);
                for block in bytes.chunks(BLOCK) {
                    writer.write(&declared.name, block).map_err(unwritable)?;
                }
                pair.model.release(name, 0, bytes.len() / declared.dtype.size());
            }
            From::Waiting(thin, start, end) => {
                let bytes = fs_err::read(&thin.file)?;
                writer.write(&declared.name, &bytes[*start..*end]).map_err(unwritable)?;
            }
        }
    }
    writer.finish().map_err(unwritable)
}

/// Returns what PEFT is told about the adapter: MergeKit's fields, and those that are needed beyond them.
fn adapter_config(params: &ExtractLoraParams, choice: &Choice, kept: &[Thin], dropped: &[Thin]) -> serde_json::Value {
    let rank = kept.iter().map(|thin| thin.rank).max().unwrap_or(0);
    let others: BTreeMap<&str, usize> =
        kept.iter().filter(|thin| thin.rank != rank).map(|thin| (thin.module.as_str(), thin.rank)).collect();
    let targets: BTreeSet<&str> = kept.iter().filter_map(|thin| thin.module.rsplit('.').next()).collect();
    let mut config = json!({
        "base_model_name_or_path": params.base_name,
        "peft_type": "LORA",
        "use_rslora": false,
        "target_modules": targets,
        "modules_to_save": choice.saved,
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    if choice.biases {
        config["bias"] = "lora_only".into();
    }
    if !dropped.is_empty() {
        config["exclude_modules"] = dropped.iter().map(|thin| thin.module.as_str()).collect();
    }
    config
}
