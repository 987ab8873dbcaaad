//! What each output will hold: rows and tokens of data, sizes of models.
//!
//! What is in the cache is counted. Else an output is what its inputs make of it: a source holds what its file says it is expected
//! to hold, a curation keeps every row that no limit takes away, a merge has the shape of what it merges.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Facts, Figure, Shape, rates};
use crate::plan::graph::{Instance, InstanceId};
use crate::spec::params::{CurateParams, CurateStep, Expect, MergeParams, Op, OutputFormat, SourceParams};

/// What an output holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// Rows of data.
    pub(super) rows: Figure,
    /// Tokens of these rows.
    pub(super) tokens: Figure,
    /// Bytes of its files.
    pub(super) bytes: Figure,
    /// Whether these are packed, so that they say nothing about tokens.
    pub(super) packed: bool,
    /// Number of tokens that a tokenizer knows.
    pub(super) vocabulary: Figure,
    /// The sizes of a model.
    pub(super) model: Option<Rc<Shape>>,
    /// Where it comes from, for messages.
    pub(super) from: String,
}

impl Content {
    fn with_model(shape: Option<Rc<Shape>>) -> Self {
        let bytes = shape.as_ref().map_or(Figure::Unknown, |shape| Figure::Known(shape.bytes()));
        Self { bytes, model: shape, ..Self::default() }
    }

    /// Returns the part of the data with so many rows.
    #[must_use]
    pub(super) fn first(&self, limit: Option<u64>) -> Self {
        let Some(limit) = limit.map(|limit| limit as f64) else { return self.clone() };
        let Some(rows) = self.rows.value() else {
            // So many at the most, and of what is in them nothing is known.
            return Self {
                rows: Figure::Assumed(limit),
                tokens: Figure::Unknown,
                bytes: Figure::Unknown,
                ..self.clone()
            };
        };
        if rows <= limit { self.clone() } else { self.share(limit / rows) }
    }

    /// Returns a share of the data.
    fn share(&self, share: f64) -> Self {
        let part = |figure: Figure| if share < 1.0 { (figure * share).assumed() } else { figure };
        let rows = (self.rows * share).map(f64::round);
        Self { rows, tokens: part(self.tokens), bytes: part(self.bytes), ..self.clone() }
    }

    /// Returns its tokens: as they are known, or by its bytes.
    pub(super) fn tokens_or_bytes(&self) -> (Figure, Option<String>) {
        if !self.tokens.is_unknown() {
            return (self.tokens, None);
        }
        let from = &self.from;
        if self.packed {
            let note =
                format!("tokens of `{from}` are unknown, since its files are packed; `expect: {{tokens: …}}` says it");
            return (Figure::Unknown, Some(note));
        }
        let tokens = (self.bytes * (1.0 / rates::BYTES_A_TOKEN)).assumed();
        let note = match tokens.value() {
            Some(_) => {
                format!("tokens of `{from}`: {:.0} bytes each; `expect: {{tokens: …}}` says it", rates::BYTES_A_TOKEN)
            }
            None => format!("tokens of `{from}` are unknown: run it first, or say `expect: {{rows: …, tokens: …}}`"),
        };
        (tokens, Some(note))
    }
}

/// Lengths of samples of a training.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Those of each data set.
    pub of: Vec<Sample>,
    /// Sequences that all of them fill, packed by the best fit.
    pub sequences: usize,
}

/// Lengths of samples of a data set, as they are tokenized.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Rows that were tokenized.
    pub rows: f64,
    /// Rows that they were taken from.
    pub among: f64,
    /// The share of the text of these that was tokenized.
    pub share: f64,
    /// Whether these are all.
    pub all: bool,
    /// Tokens of each sample that came of them.
    pub lengths: Vec<usize>,
    /// How many of these tokens are learned.
    pub trained: f64,
}

/// What all outputs hold, as far as they were looked at.
#[derive(Debug, Default)]
pub(super) struct Contents(BTreeMap<(usize, String), Content>);

impl Contents {
    pub(super) fn put(&mut self, id: InstanceId, outputs: Vec<(String, Content)>) {
        for (name, content) in outputs {
            self.0.insert((id.index(), name), content);
        }
    }

    /// Returns what the first artifact in a slot holds.
    pub(super) fn of_slot(&self, instance: &Instance, slot: &str) -> Content {
        let slot = instance.slots.iter().find(|own| own.name == slot);
        slot.and_then(|slot| self.of(slot).into_iter().next()).unwrap_or_default()
    }

    /// Returns what is in all slots, in their order.
    pub(super) fn all(&self, instance: &Instance) -> Vec<Content> {
        instance.slots.iter().flat_map(|slot| self.of(slot)).collect()
    }

    fn of(&self, slot: &crate::plan::graph::Slot) -> Vec<Content> {
        let get = |artifact: &crate::plan::graph::Artifacts| {
            self.0.get(&(artifact.from.index(), artifact.output.name.to_string())).cloned().unwrap_or_default()
        };
        slot.artifacts.iter().map(get).collect()
    }
}

/// Returns what the outputs of an instance hold, by name.
pub(super) fn outputs(instance: &Instance, facts: &Facts, contents: &Contents) -> Vec<(String, Content)> {
    let inputs = |slot: &str| contents.of_slot(instance, slot);
    let here = || facts.shape.clone().map(Rc::new);
    let one = |content: Content| vec![(String::new(), content)];
    let mut outputs = match &instance.op {
        Op::Source(params) if params.model.is_some() => {
            let published = || Shape::published(params.model.as_deref()?).map(Rc::new);
            one(Content::with_model(here().or_else(published)))
        }
        Op::Source(params) => one(source(params, facts)),
        Op::Curate(params) => curated(params, facts, &inputs),
        Op::Generate(params) => {
            let from = inputs("from").first(params.limit);
            let answers = from.rows * (f64::from(params.answers()) * rates::ANSWER);
            let tokens = (from.tokens + answers).assumed();
            let rows = facts.metrics.get("rows_out").copied().map_or(from.rows.assumed(), Figure::Known);
            one(Content { rows, tokens, ..Content::default() })
        }
        Op::Tokenizer(params) => {
            one(Content { vocabulary: Figure::Known(params.vocab_size as f64), ..Content::default() })
        }
        Op::Init(params) => {
            let made = || Shape::made(params, inputs("tokenizer").vocabulary.value()?).map(Rc::new);
            one(Content::with_model(here().or_else(made)))
        }
        Op::Sft(params) => {
            let model =
                if params.result().1 == crate::spec::params::InputType::Model { inputs("model").model } else { None };
            let model = model.and_then(|shape| shape.trained(params)).map(Rc::new);
            let content = Content::with_model(here().or(model));
            let epochs = params.epoch_outputs().map(|name| (name, content.clone()));
            std::iter::once((String::new(), content.clone())).chain(epochs).collect()
        }
        Op::Merge(params) => one(Content::with_model(here().or_else(|| merged(params, instance, contents)))),
        Op::ApplyLora(_) => one(Content::with_model(here().or(inputs("model").model))),
        Op::Select(_) => one(contents.all(instance).into_iter().next().unwrap_or_default()),
        _ => one(Content::default()),
    };
    for (_, content) in &mut outputs {
        instance.name.clone_into(&mut content.from);
    }
    outputs
}

/// Returns what a data set holds: as it was counted, as the pipeline says, or as is known of the task.
fn source(params: &SourceParams, facts: &Facts) -> Content {
    let metric = |name: &str| Figure::from(facts.metrics.get(name).copied());
    let expected = |of: fn(&Expect) -> Option<u64>| params.expect.as_ref().and_then(of).map(|count| count as f64);
    let (rows, tokens) = (expected(|expect| expect.rows), expected(|expect| expect.tokens));
    let assumed = |count: Option<f64>| count.map_or(Figure::Unknown, Figure::Assumed);
    let most = params.range.and_then(|range| range.to.map(|to| to.saturating_sub(range.from) as f64));
    let known = metric("rows").or(facts.rows.into());
    let rows = known.or(assumed(rows)).or(assumed(super::ask::rows_of_task(params))).or(assumed(most));
    let bytes = metric("bytes").or(facts.size.into()).or(facts.listed.into());
    Content { rows, tokens: assumed(tokens), bytes, packed: facts.packed, ..Content::default() }
}

fn curated(params: &CurateParams, facts: &Facts, inputs: &dyn Fn(&str) -> Content) -> Vec<(String, Content)> {
    let entries = params.from.iter().enumerate();
    let read: Vec<Content> = entries.map(|(i, entry)| inputs(&format!("from[{i}]")).first(entry.limit)).collect();
    let sum = |of: fn(&Content) -> Figure| read.iter().map(of).sum::<Figure>();
    let mut all = Content {
        rows: sum(|content| content.rows),
        tokens: sum(|content| content.tokens),
        bytes: sum(|content| content.bytes),
        packed: read.iter().any(|content| content.packed),
        ..Content::default()
    };
    let split = params.split().map(|split| split.eval);
    if facts.fresh {
        let metric = |name: &str| Figure::from(facts.metrics.get(name).copied());
        let share = |rows: Figure| rows.with(metric("rows_out"), |rows, all| rows / all.max(1.0));
        let part = |rows: Figure| {
            let bytes = Figure::from(facts.size).with(share(rows), |bytes, share| bytes * share);
            // Of the tokens that were expected of what was read, as many as of its rows.
            let kept = rows.with(all.rows, |rows, all| rows / all.max(1.0));
            let tokens = all.tokens.with(kept, |tokens, kept| tokens * kept);
            let packed = params.output.format != OutputFormat::Jsonl;
            Content { rows, tokens, bytes, packed, ..Content::default() }
        };
        return match split {
            Some(_) => ["train", "eval"].map(|name| (name.to_owned(), part(metric(&format!("{name}_rows"))))).into(),
            None => vec![(String::new(), part(metric("rows_out")))],
        };
    }
    for step in &params.steps {
        match step {
            CurateStep::Sample(sample) => all = all.first(Some(sample.rows as u64)),
            CurateStep::Split(_) => {}
            // How many rows it drops is not known: all of them at the most.
            _ => (all.rows, all.tokens, all.bytes) = (all.rows.assumed(), all.tokens.assumed(), all.bytes.assumed()),
        }
    }
    if let Some(expect) = &params.expect {
        let expected = |count: Option<u64>| count.map_or(Figure::Unknown, |count| Figure::Assumed(count as f64));
        all.rows = expected(expect.rows).or(all.rows);
        all.tokens = expected(expect.tokens).or(all.tokens);
    }
    match split {
        Some(eval) => vec![("train".to_owned(), all.share(1.0 - eval)), ("eval".to_owned(), all.share(eval))],
        None => vec![(String::new(), all)],
    }
}

/// Returns the sizes of a merged model: those of the first that is merged, in the numbers that are asked for.
fn merged(params: &MergeParams, instance: &Instance, contents: &Contents) -> Option<Rc<Shape>> {
    let config = params.config.as_ref();
    // Slices make a model of another depth.
    if config.is_some_and(|config| config.slices.is_some() || config.modules.is_some()) {
        return None;
    }
    let mut shape = contents.all(instance).into_iter().find_map(|content| content.model)?;
    let dtype = config.and_then(|config| config.out_dtype.as_deref().or(config.dtype.as_deref()));
    if let Some(stored) = dtype.map(|dtype| if dtype == "float32" { 4.0 } else { 2.0 }) {
        Rc::make_mut(&mut shape).stored = stored;
    }
    Some(shape)
}
