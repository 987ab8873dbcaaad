//! What asking a model costs: evals, and answers to rows.
//!
//! What a question has of tokens is assumed where its rows are not counted. A model reads a question at the speed of trainings, and writes
//! a batch of answers a token at a time: as fast as its weights are read from memory, or as its products allow if the batch is large.

use super::content::Content;
use super::{Cost, Figure, Ground, Shape, rates};
use crate::spec::params::{EvalParams, Exit, GenerateParams, Request, SourceParams, Task};

/// How many answers are written at once, where a node of another kind than `eval` asks (`ops::generate`).
const AT_ONCE: f64 = 32.0;

/// Rows of the data sets behind Luth's benchmarks, by address, configuration and split: the sizes that their scores follow
/// from, and for those that no score tells the cards'.
const ROWS: [(&str, f64); 12] = [
    ("google/IFEval", 541.0),
    ("jzhang86/fr_ifeval", 541.0),
    ("Idavidrein/gpqa", 198.0),
    ("le-leadboard/gpqa-fr", 197.0),
    ("openai/MMMLU", 14_042.0),
    ("cais/mmlu", 14_042.0),
    ("bezir/MATH-500-multilingual", 500.0),
    ("HuggingFaceH4/MATH-500", 500.0),
    ("manu/french_bench_arc_challenge", 1169.0),
    ("allenai/ai2_arc", 1172.0),
    ("manu/french_bench_hellaswag", 9340.0),
    ("Rowan/hellaswag", 10_042.0),
];

/// Returns how many rows of a benchmark are asked, if that is in the list.
pub(super) fn rows_of_task(params: &SourceParams) -> Option<f64> {
    let asked = params.part != Some(crate::spec::params::TaskPart::Examples) && params.task.is_some();
    let place = params.dataset.as_deref().filter(|_| asked)?.strip_prefix("hf://datasets/")?;
    ROWS.iter().find(|(name, _)| place.split('@').next() == Some(name)).map(|(_, rows)| *rows)
}

/// Tokens that a model reads and writes.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Texts.
    texts: Figure,
    /// Tokens that are read of each.
    read: f64,
    /// Tokens that are written to each.
    written: f64,
    /// Tokens that may be written to each.
    most: f64,
}

/// Reckons an eval.
pub(super) fn eval(
    params: &EvalParams,
    model: &Content,
    inputs: &dyn Fn(&str) -> Content,
    ground: &Ground<'_>,
) -> Cost {
    let mut cost = Cost::nothing();
    let mut asked = Vec::new();
    for (index, task) in params.tasks.iter().enumerate() {
        let data = inputs(&task.slot(index));
        let limited = data.first(task.limit().map(|limit| limit as u64));
        if limited.rows.is_unknown() {
            let from = &data.from;
            cost.note(format!("rows of `{from}` are unknown: run it first, or say `limit` or `expect: {{rows: …}}`"));
        }
        asked.push(of_task(task, params, &limited, &mut cost));
    }
    let texts = asked.iter().map(|one| one.texts).sum::<Figure>();
    let many = if params.tasks.len() == 1 { "" } else { "s" };
    cost.what = format!("asks {} task{many}, {} texts", params.tasks.len(), said(texts));
    cost.disk = texts.map(|texts| texts * 1000.0).assumed();
    let asking = Asking { model, exit: params.exit, batch: params.batch as f64, is_eval: true };
    finish(cost, &asking, &asked, ground)
}

fn of_task(task: &Task, params: &EvalParams, data: &Content, cost: &mut Cost) -> Asked {
    let rows = data.rows;
    match task {
        Task::BitsPerByte(_) => {
            let (tokens, note) = data.tokens_or_bytes();
            cost.notes_of(note);
            let mean = tokens.with(rows, |tokens, rows| tokens / rows.max(1.0));
            let texts = if mean.is_unknown() { mean } else { rows };
            Asked { texts, read: mean.value().unwrap_or(0.0), written: 0.0, most: 0.0 }
        }
        Task::MinimalPairs(_) => {
            cost.note(format!("sentences of minimal pairs have {:.0} tokens", rates::SENTENCE));
            Asked { texts: rows * 2.0, read: rates::SENTENCE, written: 0.0, most: 0.0 }
        }
        Task::Named(named) => {
            let Some(definition) = &named.definition else {
                return Asked { texts: rows, read: 0.0, written: 0.0, most: 0.0 };
            };
            let shots = named.shots.unwrap_or(definition.fewshot.shots) as f64;
            let question = rates::QUESTION * (1.0 + shots);
            cost.note(format!("a question has {:.0} tokens, and as many for each example", rates::QUESTION));
            let read = |more: f64| Asked { texts: rows, read: question + more, written: 0.0, most: 0.0 };
            match &definition.request {
                // What answers share is read once.
                Request::Choices(choices) => {
                    let count = if choices.texts.is_empty() { rates::CHOICES } else { choices.texts.len() as f64 };
                    read(count * if choices.contexts.is_some() { question } else { rates::CHOICE })
                }
                Request::Pair(_) => Asked { texts: rows * 2.0, read: rates::SENTENCE, written: 0.0, most: 0.0 },
                Request::Text(_) => read(0.0),
                Request::Generate(generate) => {
                    let most = named.max_tokens.or(params.max_tokens).unwrap_or(generate.max_tokens) as f64;
                    let drawn = named.temperature.unwrap_or(generate.temperature) > 0.0;
                    let samples = named.samples.unwrap_or(generate.samples) as f64;
                    // Answers that are not drawn are the same in every run, and asked once.
                    let times = samples * if drawn { params.runs as f64 } else { 1.0 };
                    answers(rows * times, question, most, cost)
                }
            }
        }
    }
}

fn answers(texts: Figure, read: f64, most: f64, cost: &mut Cost) -> Asked {
    if most > rates::ANSWER {
        cost.note(format!("answers of up to {most:.0} tokens have {:.0} on average", rates::ANSWER));
    } else {
        cost.note("answers are as long as they may be");
    }
    Asked { texts, read, written: most.min(rates::ANSWER), most }
}

/// Reckons a node that asks about rows.
pub(super) fn generate(params: &GenerateParams, model: Option<&Content>, from: &Content, ground: &Ground<'_>) -> Cost {
    let rows = from.first(params.limit);
    let mut cost = Cost::nothing();
    if rows.rows.is_unknown() {
        cost.note(format!(
            "rows of `{}` are unknown: run it first, or say `limit` or `expect: {{rows: …}}`",
            from.from
        ));
    }
    let texts = rows.rows * f64::from(params.answers());
    let words = rows.tokens.with(rows.rows, |tokens, rows| tokens / rows.max(1.0)).value();
    if words.is_none() {
        cost.note(format!("a question has {:.0} tokens", rates::QUESTION));
    }
    let most = f64::from(params.params.max_tokens.unwrap_or(1024));
    let asked = answers(texts, words.unwrap_or(rates::QUESTION), most, &mut cost);
    cost.disk = texts.map(|texts| texts * (asked.read + asked.written) * rates::BYTES_A_TOKEN).assumed();
    let Some(model) = model else {
        let name = params.endpoint.as_ref().map_or("a server", |endpoint| endpoint.model.as_str());
        cost.what = format!("asks {name} {} times", said(texts));
        cost.tokens = texts.map(|texts| texts * (asked.read + asked.written)).assumed();
        (cost.seconds, cost.host_memory) = (Figure::Unknown, Figure::Assumed(rates::PROGRAM));
        cost.note("how fast a server answers is not known");
        return cost;
    };
    cost.what = format!("asks {} times", said(texts));
    let asking = Asking { model, exit: params.exit, batch: AT_ONCE, is_eval: false };
    finish(cost, &asking, &[asked], ground)
}

fn said(count: Figure) -> String {
    count.value().map_or_else(|| "?".to_owned(), |count| format!("{count:.0}"))
}

/// Who is asked, and how.
struct Asking<'a> {
    model: &'a Content,
    exit: Option<Exit>,
    /// How many answers are written at once.
    batch: f64,
    is_eval: bool,
}

impl Asking<'_> {
    /// Returns the sizes of what runs: the model, or what of it lies before an exit.
    fn shape(&self) -> Result<Shape, String> {
        let from = &self.model.from;
        let whole = self.model.model.as_ref();
        let whole = whole.ok_or_else(|| {
            format!("the shape of `{from}` is unknown: run it first, and its `config.json` is looked at")
        })?;
        let layers = self.exit.and_then(Exit::layers).unwrap_or_default();
        whole.at_exit(self.exit).ok_or_else(|| {
            format!("`{from}` has no exit after layer {layers}: set `exit` to one of those that `early_exit` gave it")
        })
    }
}

/// Adds tokens, operations, memory and time.
fn finish(mut cost: Cost, asking: &Asking<'_>, asked: &[Asked], ground: &Ground<'_>) -> Cost {
    let sum = |of: &dyn Fn(&Asked) -> f64| asked.iter().map(|one| one.texts * of(one)).sum::<Figure>().assumed();
    let (read, written) = (sum(&|one| one.read), sum(&|one| one.written));
    cost.tokens = read + written;
    let shape = match asking.shape() {
        Ok(shape) => shape,
        Err(why) => {
            cost.note(why);
            let unknown = Figure::Unknown;
            return Cost { flops: unknown, host_memory: unknown, device_memory: unknown, seconds: unknown, ..cost };
        }
    };
    let pairs = |one: &Asked| {
        let length = one.read + one.written;
        let seen = |window: &Option<usize>| length * window.map_or(length / 2.0, |w| length.min(w as f64));
        // A branch has blocks for tokens.
        let (branches, factor) = shape.costs.branches;
        let of_branches = branches as f64 * (length / factor as f64).powi(2) / 2.0;
        shape.costs.windows.iter().map(seen).sum::<f64>() + of_branches
    };
    let pass = |one: &Asked| shape.costs.forward(one.read + one.written, one.written.max(1.0), pairs(one));
    cost.flops = sum(&pass);
    cost.seconds = match ground.earlier.eval.filter(|_| ground.device.is_host && asking.is_eval) {
        Some((speed, nodes)) => {
            cost.note(format!("the speed of evals is that of {nodes} earlier ones here"));
            cost.tokens * (shape.costs.forward(1.0, 1.0, 0.0) / speed)
        }
        None => sum(&|one| seconds(one, &shape, asking.batch, ground)),
    };
    memory(&mut cost, &shape, asked, asking.batch, ground);
    cost
}

/// Returns how long one text takes: its reading, and its part of the steps that write a batch.
fn seconds(one: &Asked, shape: &Shape, batch: f64, ground: &Ground<'_>) -> f64 {
    let device = ground.device;
    let reading = shape.costs.forward(one.read, 1.0, 0.0) / device.sustained();
    let of_weights = shape.bytes() / (device.bandwidth * rates::OF_BANDWIDTH) / batch;
    let of_products = shape.costs.forward(1.0, 1.0, 0.0) / device.sustained();
    reading + one.written * of_weights.max(of_products)
}

fn memory(cost: &mut Cost, shape: &Shape, asked: &[Asked], batch: f64, ground: &Ground<'_>) {
    let wide = if ground.device.is_host { 4.0 } else { shape.stored };
    let kept = |one: &Asked| shape.kept_a_token() * wide * batch * (one.read + one.written);
    let kept = asked.iter().map(kept).fold(0.0, f64::max);
    if asked.iter().any(|one| one.most > one.written) {
        cost.note("memory is that of answers of average length; longer ones take more");
    }
    let all = shape.bytes() + kept;
    if ground.device.is_host {
        cost.host_memory = Figure::Assumed(all + rates::PROGRAM);
    } else {
        cost.host_memory = Figure::Assumed(shape.bytes() + rates::PROGRAM);
        cost.device_memory = Figure::Assumed(all);
    }
}
