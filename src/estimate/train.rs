//! What a training costs.
//!
//! Operations are those that the node itself counts (`model::flops`), over the tokens of its steps, and so are those that
//! `gradient_checkpointing` does a second time.

use super::content::Content;
use super::{Cost, Facts, Figure, Ground, Shape, memory};
use crate::model::{PassCosts, Recompute, Through};
use crate::spec::params::{GradientCheckpointing, Packing, SftParams, TrainOn};

/// The data of a training, once through.
struct Epoch {
    samples: Figure,
    tokens: Figure,
    trained: Figure,
    pairs: Figure,
    /// Of these the ones of layers that only run forward.
    pairs_below: Figure,
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
    let Some(shape) = &shape.in_training(params) else {
        let note = format!("`early_exit` names layers that `{}` does not have: it has {}", model.from, shape.layers);
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
    let (tokens, trained, pairs, below) =
        (seen(kept.tokens), seen(kept.trained), seen(kept.pairs), seen(kept.pairs_below));
    let through = |make: &dyn Fn(Through) -> f64| {
        let all = tokens.with(trained, |tokens, _| tokens).with(pairs, |tokens, _| tokens);
        let [trained, pairs, pairs_below] = [trained, pairs, below].map(|figure| figure.value().unwrap_or(0.0));
        let own_heads = shape.beside.as_ref().map_or(0.0, |beside| beside.own_heads);
        let (labels, own_labels) = (trained * shape.ends, trained * own_heads);
        all.map(|tokens| make(Through { tokens, labels, own_labels, pairs, pairs_below }))
    };
    cost.flops = through(&|pass| operations(shape, pass, beside));
    let again = recomputed(params, ground);
    if again != Recompute::Nothing {
        cost.recomputed_flops = through(&|pass| operations_again(shape, pass, again, !ground.device.is_host));
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
    let (exits, weights) = (shape.ends - 1.0, super::cost::short(shape.parameters));
    cost.what = match &shape.beside {
        Some(beside) => {
            let own = super::cost::short(beside.parameters);
            format!("trains {own} of {weights} weights, those of {exits} exits, {count} steps")
        }
        None if exits > 0.0 => format!("trains {how} {weights} weights and {exits} exits, {count} steps"),
        None => format!("trains {how} {weights} weights, {count} steps"),
    };
    let outputs = 1.0 + params.epoch_outputs().count() as f64;
    cost.disk = Figure::Known(if params.lora.is_some() && params.result().0 == "adapter" {
        outputs * beside.unwrap_or(0.0) * 4.0
    } else {
        outputs * shape.bytes()
    });
    memory::add(params, shape, (kept.tokens, kept.longest), beside, ground, &mut cost);
    cost
}

/// Returns the operations of a forward and a backward pass.
fn operations(shape: &Shape, pass: Through, adapters: Option<f64>) -> f64 {
    match &shape.beside {
        Some(beside) => shape.costs.training_beside(&beside.below.costs, pass),
        None => shape.costs.training(pass.tokens, pass.labels, pass.pairs, adapters),
    }
}

/// Returns those that are done a second time: not of layers that only run forward.
fn operations_again(shape: &Shape, pass: Through, again: Recompute, on_device: bool) -> f64 {
    let of = |costs: &PassCosts, pairs: f64| costs.recomputed(again, on_device, pass.tokens, pairs);
    let below = shape.beside.as_ref().map_or(0.0, |beside| of(&beside.below.costs, pass.pairs_below));
    of(&shape.costs, pass.pairs) - below
}

/// Returns what is computed again. With DoRA the processor keeps what others compute a second time.
fn recomputed(params: &SftParams, ground: &Ground<'_>) -> Recompute {
    let keeps = params.lora.as_ref().is_some_and(|lora| lora.use_dora) && ground.device.is_host;
    match params.gradient_checkpointing {
        GradientCheckpointing::Selective if !keeps => Recompute::FeedForward,
        GradientCheckpointing::None | GradientCheckpointing::Selective => Recompute::Nothing,
        GradientCheckpointing::Full => Recompute::Layers,
    }
}

/// Returns the layers that only run forward.
fn below(shape: &Shape) -> Option<&Shape> {
    shape.beside.as_ref().map(|beside| &*beside.below)
}

impl Epoch {
    /// Returns what some samples say about all.
    fn counted(samples: &super::Samples, params: &SftParams, data: &[Content], shape: &Shape, cost: &mut Cost) -> Self {
        let all = samples.of.iter().all(|sample| sample.all);
        let all_of = |count: &dyn Fn(&super::Sample) -> f64, by: &dyn Fn(&super::Sample) -> f64| -> Figure {
            let scaled = samples.of.iter().zip(data).map(|(sample, content)| {
                let times = content.rows.map(|rows| rows / by(sample).max(1e-9));
                if sample.all { Figure::Known(count(sample)) } else { (times * count(sample)).assumed() }
            });
            scaled.sum()
        };
        // Rows differ in length by far more than in tokens a character.
        let sum = |count: &dyn Fn(&super::Sample) -> f64| all_of(count, &|sample| sample.among * sample.share);
        if !all {
            let most = samples.of.iter().map(|sample| sample.rows).fold(0.0, f64::max);
            cost.note(format!("tokens are as in {most:.0} rows of each data set, which were counted"));
        }
        let tokens = sum(&|sample| sample.lengths.iter().sum::<usize>() as f64);
        let longest = samples.of.iter().flat_map(|sample| &sample.lengths).max().copied().unwrap_or(0) as f64;
        Self {
            samples: all_of(&|sample| sample.lengths.len() as f64, &|sample| sample.rows).map(f64::round),
            tokens,
            trained: sum(&|sample| sample.trained),
            pairs: sum(&|sample| shape.costs.pairs(&sample.lengths)),
            pairs_below: below(shape).map_or(Figure::ZERO, |below| sum(&|sample| below.costs.pairs(&sample.lengths))),
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
            cost.notes_of(note);
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
            pairs_below: samples
                .with(mean, |samples, mean| below(shape).map_or(0.0, |below| below.pairs(samples, mean))),
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
            pairs_below: of(self.pairs_below, true),
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
        let epochs = Figure::Known(params.epochs);
        if params.max_steps.is_none() && params.epochs.fract() == 0.0 {
            return epochs;
        }
        let share = self.count.with(self.whole, |count, whole| count / whole.max(1.0));
        let cut = self.count.value() < self.whole.value();
        // Steps are not equally full.
        if cut || params.epochs.fract() != 0.0 { (share * params.epochs).assumed() } else { share * params.epochs }
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
    // Each end is asked in a pass of its own.
    let passes = shape.ends * (shape.parameters - shape.of_exits);
    held.with(times, |tokens, times| tokens * times * 2.0 * passes)
}
