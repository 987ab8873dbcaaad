//! What costs no operations of a model to speak of: bringing in, curating, merging, writing in another format.
//!
//! All of it is as fast as files are read and written, on whatever device trainings run.

use super::content::Content;
use super::{Cost, Facts, Figure, Ground, rates};
use crate::spec::params::{CurateParams, ExportParams, ExportType, InitParams, SourceParams};

/// Bytes that a merge holds in memory: pieces of tensors (`docs/benchmarks.md`: 30 to 190 MB).
const PIECES: f64 = 200e6;
/// Rows that a curation holds in memory, and what it knows of the others (a guess).
const ROWS: f64 = 200e6;

fn disk_note(cost: &mut Cost) {
    cost.note(format!("{:.0} GB a second to and from the disk", rates::DISK / 1e9));
}

/// Reckons a source.
pub(super) fn source(params: &SourceParams, facts: &Facts, ground: &Ground<'_>) -> Cost {
    let outside = |path: &Option<String>| path.as_deref().is_some_and(|path| path.contains("://"));
    let outside = [&params.dataset, &params.model, &params.adapter].into_iter().any(outside);
    let mut bytes = Figure::from(facts.listed).or(facts.size.into());
    let mut cost = Cost::nothing();
    if bytes.is_unknown() {
        let published = || super::Shape::published(params.model.as_deref()?).map(|shape| shape.bytes());
        if let Some(weights) = published() {
            bytes = Figure::Assumed(weights);
            cost.note("a published model has the bytes of its weights");
        }
    }
    cost.host_memory = Figure::Assumed(rates::PROGRAM);
    cost.disk = bytes;
    if outside {
        cost.what = "downloads".into();
        cost.seconds = ground.bandwidth.map_or(Figure::Unknown, |speed| (bytes * (1.0 / speed)).assumed());
        if ground.bandwidth.is_none() {
            cost.note("the time of downloads is unknown: say `--bandwidth 1Gbit`");
        }
    } else {
        cost.what = "brings files in".into();
        cost.seconds = (bytes * (2.0 / rates::DISK)).assumed();
        disk_note(&mut cost);
    }
    cost
}

/// Reckons a curation.
pub(super) fn curate(params: &CurateParams, inputs: &[Content], ground: &Ground<'_>) -> Cost {
    let read: Vec<Content> =
        params.from.iter().zip(inputs).map(|(entry, content)| content.first(entry.limit)).collect();
    let rows = read.iter().map(|content| content.rows).sum::<Figure>();
    let of_tokens = |content: &Content| content.bytes.or((content.tokens * rates::BYTES_A_TOKEN).assumed());
    let bytes = read.iter().map(of_tokens).sum::<Figure>();
    let mut cost = Cost::nothing();
    let many = if params.steps.len() == 1 { "" } else { "s" };
    cost.what = format!(
        "{} step{many} over {} rows",
        params.steps.len(),
        rows.value().map_or("?".into(), |rows| format!("{rows:.0}"))
    );
    cost.disk = bytes.assumed();
    cost.note("curations are taken to keep every row that no limit takes away");
    cost.host_memory = Figure::Assumed(ROWS + rates::PROGRAM);
    cost.seconds = match ground.earlier.curation {
        Some((speed, nodes)) if !rows.is_unknown() => {
            cost.note(format!("the speed of curations is that of {nodes} earlier ones here"));
            (rows * (1.0 / speed)).assumed()
        }
        _ => {
            cost.note(format!("curations go through {:.0} MB a second", rates::CURATION / 1e6));
            (bytes * (1.0 / rates::CURATION)).assumed()
        }
    };
    if bytes.is_unknown() {
        for content in read.iter().filter(|content| content.rows.is_unknown() || of_tokens(content).is_unknown()) {
            let from = &content.from;
            cost.note(format!("rows of `{from}` are unknown: run it first, or say `expect: {{rows: …, tokens: …}}`"));
        }
    }
    cost
}

/// Reckons a merge, and whatever else makes a model of models.
pub(super) fn merge(inputs: &[Content], out: Option<&Content>, ground: &Ground<'_>) -> Cost {
    let models = inputs.iter().filter(|content| content.model.is_some() || !content.bytes.is_unknown()).count();
    let read = inputs.iter().map(|content| content.bytes).sum::<Figure>();
    let written = out.map_or(Figure::Unknown, |out| out.bytes);
    let mut cost = Cost::nothing();
    cost.what = format!("combines {models} models");
    cost.disk = written;
    cost.host_memory = Figure::Assumed(PIECES + rates::PROGRAM);
    let weights = out.and_then(|out| out.model.as_ref()).map(|shape| shape.parameters);
    if let (Some((speed, nodes)), Some(weights)) = (ground.earlier.merge, weights) {
        cost.note(format!("the speed of merges is that of {nodes} earlier ones here"));
        cost.seconds = Figure::Assumed(weights / speed);
    } else {
        disk_note(&mut cost);
        cost.seconds = ((read + written) * (1.0 / rates::DISK)).assumed();
    }
    if (read + written).is_unknown() {
        cost.note("the sizes of some models that are combined are unknown: run what they come from first");
    }
    cost
}

/// Reckons a file for another program.
pub(super) fn export(params: &ExportParams, model: &Content) -> Cost {
    let bits = match params.r#type {
        ExportType::F32 => 32.0,
        ExportType::F16 | ExportType::Bf16 => 16.0,
        ExportType::Q8_0 => 8.5,
        ExportType::Q4KM => 4.85,
    };
    let mut cost = Cost::nothing();
    cost.what = "writes a file for other programs".into();
    let written = model.model.as_ref().map(|shape| shape.parameters * bits / 8.0);
    cost.disk = Figure::from(written).assumed();
    cost.host_memory = Figure::Assumed(PIECES + rates::PROGRAM);
    cost.seconds = ((model.bytes + cost.disk) * (1.0 / rates::DISK)).assumed();
    disk_note(&mut cost);
    cost
}

/// Reckons a model with random weights.
pub(super) fn init(params: &InitParams, tokenizer: &Content) -> Cost {
    let shape = tokenizer.vocabulary.value().and_then(|vocabulary| super::Shape::made(params, vocabulary));
    let mut cost = Cost::nothing();
    cost.what = "makes random weights".into();
    if shape.is_none() {
        cost.note(format!("the vocabulary of `{}` is unknown: run it first", tokenizer.from));
    }
    cost.disk = Figure::from(shape.as_ref().map(super::Shape::bytes));
    cost.host_memory = (cost.disk + Figure::Known(rates::PROGRAM)).assumed();
    cost.seconds = (cost.disk * (1.0 / rates::DISK)).assumed();
    disk_note(&mut cost);
    cost
}

/// Reckons a report.
pub(super) fn report() -> Cost {
    let mut cost = Cost { what: "writes tables and curves".into(), ..Cost::nothing() };
    (cost.disk, cost.seconds) = (Figure::Assumed(1e6), Figure::Assumed(1.0));
    cost.host_memory = Figure::Assumed(rates::PROGRAM);
    cost
}
