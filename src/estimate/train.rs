//! What a training costs.
//!
//! Operations are those that the node itself counts (`model::flops`), over the tokens of its steps; what
//! `gradient_checkpointing` computes again is one forward pass more through the layers. Memory follows from the settings: what each
//! weight takes, what is kept of each token of a forward pass, and a piece of the logits.

use super::content::Content;
use super::{Cost, Facts, Figure, Ground, Shape, rates};
use crate::spec::params::{OptimizerName, Packing, SftParams, TrainOn};

/// Rows whose logits are in the memory of a device together (`model::composed`).
const ROWS_TOGETHER: f64 = 1024.0;
/// Logits in the memory of the host at a time (`model::kernel::loss`).
const LOGITS: f64 = (1 << 24) as f64;

/// The data of a training, once through.
struct Epoch {
    samples: Figure,
    tokens: Figure,
    trained: Figure,
    pairs: Figure,
    /// Sequences, by the best fit.
    sequences: Figure,
    /// The longest sample.
    longest: Figure,
}

/// Reckons a training.
pub(super) fn cost(params: &SftParams, model: &Content, data: &[Content], facts: &Facts, ground: &Ground<'_>) -> Cost {
    let mut cost = Cost::nothing();
    let Some(shape) = &model.model else {
        let note =
            format!("the shape of `{}` is unknown: run it first, and its `config.json` is looked at", model.from);
        return Cost::all_unknown("trains a model", &note);
    };
    let epoch = match &facts.samples {
        Some(samples) => Epoch::counted(samples, params, data, shape, &mut cost),
        None => Epoch::expected(params, data, shape, &mut cost),
    };
    let (kept, held) = epoch.held_out(params);
    let steps = Steps::of(params, &kept, &mut cost);
    let passes = steps.passes(params);
    let beside = params.lora.as_ref().map(|lora| shape.adapter(lora));
    let seen = |figure: Figure| figure.with(passes, |one, passes| one * passes);
    let (tokens, trained, pairs) = (seen(kept.tokens), seen(kept.trained), seen(kept.pairs));
    let costs = &shape.costs;
    let three = |make: &dyn Fn(f64, f64, f64) -> f64| {
        let two = tokens.with(trained, |tokens, _| tokens).with(pairs, |tokens, _| tokens);
        let (trained, pairs) = (trained.value().unwrap_or(0.0), pairs.value().unwrap_or(0.0));
        two.map(|tokens| make(tokens, trained, pairs))
    };
    cost.flops = three(&|tokens, trained, pairs| costs.training(tokens, trained, pairs, beside));
    if params.gradient_checkpointing {
        cost.recomputed_flops = three(&|tokens, _, pairs| costs.forward(tokens, 0.0, pairs));
    }
    cost.tokens = tokens;
    if params.dpo.is_some() {
        cost.note("of preferences both answers count, and what the reference says about them does not");
    }
    let evaluated = evaluations(params, &steps, &held, shape);
    let all = cost.flops + cost.recomputed_flops + evaluated;
    cost.seconds = match ground.earlier.training.filter(|_| ground.device.is_host) {
        Some((speed, nodes)) => {
            cost.note(format!("the speed of trainings is that of {nodes} earlier ones here"));
            (all * (1.0 / speed)).assumed()
        }
        None => (all * (1.0 / ground.device.sustained())).assumed(),
    };
    let count = steps.count.value().map_or_else(|| "?".to_owned(), |count| format!("{count:.0}"));
    let how = if params.lora.is_some() { "adapters beside" } else { "all" };
    cost.what = format!("trains {how} {:.0} M weights, {count} steps", shape.parameters / 1e6);
    let outputs = 1.0 + params.epoch_outputs().count() as f64;
    cost.disk = Figure::Known(if params.lora.is_some() && params.result().0 == "adapter" {
        outputs * beside.unwrap_or(0.0) * 4.0
    } else {
        outputs * shape.bytes()
    });
    memory(params, shape, &kept, beside, ground, &mut cost);
    cost
}

impl Epoch {
    /// Returns what some samples say about all.
    fn counted(samples: &super::Samples, params: &SftParams, data: &[Content], shape: &Shape, cost: &mut Cost) -> Self {
        let all = samples.of.iter().all(|sample| sample.all);
        let sum = |count: &dyn Fn(&super::Sample) -> f64| -> Figure {
            let scaled = samples.of.iter().zip(data).map(|(sample, content)| {
                let rows = content.rows.map(|rows| rows / sample.rows.max(1.0));
                if sample.all { Figure::Known(count(sample)) } else { (rows * count(sample)).assumed() }
            });
            scaled.sum()
        };
        if !all {
            let most = samples.of.iter().map(|sample| sample.rows).fold(0.0, f64::max);
            cost.note(format!("tokens are as in the first {most:.0} rows of each data set, which were counted"));
        }
        let tokens = sum(&|sample| sample.lengths.iter().sum::<usize>() as f64);
        let longest = samples.of.iter().flat_map(|sample| &sample.lengths).max().copied().unwrap_or(0) as f64;
        Self {
            samples: sum(&|sample| sample.lengths.len() as f64).map(f64::round),
            tokens,
            trained: sum(&|sample| sample.trained),
            pairs: sum(&|sample| shape.costs.pairs(&sample.lengths)),
            sequences: if all {
                Figure::Known(samples.sequences as f64)
            } else {
                (tokens * (1.0 / params.sequence_len as f64)).map(f64::ceil)
            },
            longest: if all { Figure::Known(longest) } else { Figure::Assumed(longest) },
        }
    }

    /// Returns what is expected of the data.
    fn expected(params: &SftParams, data: &[Content], shape: &Shape, cost: &mut Cost) -> Self {
        let samples = data.iter().map(|data| data.rows).sum::<Figure>();
        let mut tokens = Figure::ZERO;
        for content in data {
            let (own, note) = content.tokens_or_bytes();
            tokens = tokens + own;
            note.into_iter().for_each(|note| cost.note(note));
        }
        let tokens = tokens.assumed();
        if samples.is_unknown() && !tokens.is_unknown() {
            cost.note("rows are unknown, so attention is reckoned with texts of 500 tokens");
        }
        let samples = samples.or(tokens * (1.0 / 500.0)).assumed();
        if params.train_on != TrainOn::All {
            cost.note("every token is reckoned as learned: the output layer may have less to do");
        }
        cost.note("lengths spread around their mean; the data itself tells more, once it is here");
        let mean = tokens.with(samples, |tokens, samples| tokens / samples.max(1.0));
        Self {
            samples,
            tokens,
            // Nothing predicts the first token of a sample.
            trained: tokens.with(samples, |tokens, samples| tokens - samples),
            pairs: samples.with(mean, |samples, mean| shape.pairs(samples, mean)),
            sequences: (tokens * (1.0 / params.sequence_len as f64)).map(f64::ceil),
            longest: Figure::Assumed(params.sequence_len as f64),
        }
    }

    /// Returns what is trained on and what is kept apart.
    fn held_out(self, params: &SftParams) -> (Self, Figure) {
        let size = params.val_set_size;
        if size == 0.0 {
            return (self, Figure::ZERO);
        }
        let share =
            if size < 1.0 { Figure::Known(size) } else { self.samples.map(|samples| (size / samples).min(1.0)) };
        // Which samples these are decides how long they are.
        let of = |figure: Figure, kept: bool| {
            figure.with(share, |all, share| all * if kept { 1.0 - share } else { share }).assumed()
        };
        let held = of(self.tokens, false);
        let kept = Self {
            samples: of(self.samples, true),
            tokens: of(self.tokens, true),
            trained: of(self.trained, true),
            pairs: of(self.pairs, true),
            sequences: of(self.sequences, true).map(f64::ceil),
            longest: self.longest,
        };
        (kept, held)
    }
}

/// The steps of a training.
struct Steps {
    /// Those of all epochs.
    whole: Figure,
    /// Those that are taken.
    count: Figure,
}

impl Steps {
    fn of(params: &SftParams, epoch: &Epoch, cost: &mut Cost) -> Self {
        let room = (params.micro_batch_size * params.sequence_len) as f64;
        let in_batch = if params.packing == Packing::Multipack { 1 } else { params.micro_batch_size };
        let in_step = (in_batch * params.gradient_accumulation_steps) as f64;
        let bins = match params.packing {
            Packing::BestFit => epoch.sequences,
            Packing::None => epoch.samples,
            Packing::Multipack => {
                let most = params.packing_bin_size.unwrap_or(200) as f64;
                let full = epoch.tokens.with(epoch.samples, |tokens, samples| (tokens / room).max(samples / most));
                full.map(f64::ceil).assumed()
            }
        };
        let passes = params.epochs.ceil() as u64;
        let of_pass = |pass: u64, bins: f64| {
            let share = (params.epochs - pass as f64).min(1.0);
            ((bins * share).ceil().max(1.0) / in_step).ceil()
        };
        let whole = bins.map(|bins| (0..passes).map(|pass| of_pass(pass, bins)).sum());
        let count = match params.max_steps {
            // It is reached or the data ends before.
            Some(most) if whole.is_unknown() => Figure::Assumed(most as f64),
            Some(most) => whole.at_most(most as f64),
            None => whole,
        };
        if params.early_stopping_patience.is_some() {
            cost.note("no early stop is reckoned with");
        }
        Self { whole, count }
    }

    /// Returns how many times the data is gone through.
    fn passes(&self, params: &SftParams) -> Figure {
        let share = self.count.with(self.whole, |count, whole| count / whole.max(1.0));
        let cut = self.count.value() < self.whole.value();
        let passes = share * params.epochs;
        // Steps are not equally full.
        if cut || params.epochs.fract() != 0.0 { passes.assumed() } else { passes }
    }
}

/// Returns the operations of finding out the loss of what is kept apart.
fn evaluations(params: &SftParams, steps: &Steps, held: &Figure, shape: &Shape) -> Figure {
    if params.val_set_size == 0.0 {
        return Figure::ZERO;
    }
    let times = match (params.eval_steps, params.evals_per_epoch) {
        (Some(every), _) => steps.count * (1.0 / every as f64),
        (None, each) => {
            steps.count.with(steps.whole, |count, whole| count / whole.max(1.0))
                * (params.epochs * each.unwrap_or(1) as f64)
        }
    };
    held.with(times, |tokens, times| tokens * times * 2.0 * shape.parameters)
}

/// Bytes of moments that the optimizer keeps of all weights.
fn moments(params: &SftParams, shape: &Shape, beside: Option<f64>) -> f64 {
    if let Some(beside) = beside {
        return 8.0 * beside;
    }
    let inner = shape.costs.inner;
    let (of_matrix, of_rest) = match params.optimizer {
        OptimizerName::Adamw => (8.0, 8.0),
        OptimizerName::Adamw8bit => (2.0, 8.0),
        OptimizerName::Muon => (4.0, 8.0),
    };
    inner * of_matrix + (shape.parameters - inner) * of_rest
}

/// Bytes of a forward and a backward pass that go with its tokens. `wide` are the bytes of a number.
fn activations(params: &SftParams, shape: &Shape, tokens: f64, wide: f64) -> f64 {
    let (query, keys) = (shape.costs.width, shape.keys);
    // What a layer keeps of a token: the inputs of its two halves and of its four products, and what they give.
    let layer = 2.0 * shape.hidden + 2.0 * query + 2.0 * keys + 2.0 * shape.intermediate;
    let a_token =
        if params.gradient_checkpointing { shape.layers * shape.hidden + layer } else { shape.layers * layer };
    wide * tokens * (a_token + 2.0 * shape.hidden)
}

fn memory(params: &SftParams, shape: &Shape, epoch: &Epoch, beside: Option<f64>, ground: &Ground<'_>, cost: &mut Cost) {
    let trained = beside.unwrap_or(shape.parameters);
    let masters = if params.bf16 { 4.0 * trained } else { 0.0 };
    let moments = moments(params, shape, beside);
    let weights = 4.0 * (shape.parameters + beside.unwrap_or(0.0));
    let room = (params.micro_batch_size * params.sequence_len) as f64;
    let in_pass = epoch.tokens.map(|tokens| tokens.min(room)).or(Figure::Assumed(room));
    cost.scratch = Figure::Known(4.0 * trained + moments);
    let host = weights + 4.0 * trained + masters + moments + rates::PROGRAM;
    if ground.device.is_host {
        let logits = 4.0 * LOGITS.min(256.0 * shape.vocabulary);
        cost.host_memory = in_pass.map(|tokens| host + activations(params, shape, tokens, 4.0) + logits).assumed();
        return;
    }
    cost.host_memory = Figure::Assumed(host);
    // Scores of all pairs of the longest document, in 16 and in 32 bits, and softmax and its gradient beside them.
    let attention = epoch.longest.map(|longest| shape.heads * longest * longest * (2.0 + 3.0 * 4.0));
    let layers = if params.gradient_checkpointing { 1.0 } else { shape.costs.windows.len() as f64 };
    // Logits, their logarithms and their gradient.
    let logits = 3.0 * 4.0 * ROWS_TOGETHER * shape.vocabulary;
    let on_device = shape.stored * (shape.parameters + beside.unwrap_or(0.0)) + (4.0 + shape.stored) * trained + logits;
    let passes = in_pass.map(|tokens| activations(params, shape, tokens, shape.stored));
    cost.device_memory = (passes + attention * layers + Figure::Known(on_device)).assumed();
    if epoch.longest == Figure::Assumed(params.sequence_len as f64) {
        cost.note("the memory of attention is that of a sample of `sequence_len` tokens; shorter ones take less");
    }
}
