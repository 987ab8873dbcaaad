//! Every block's backward pass beside the slopes of its forward pass, block by block: a wrong factor in one shows here at
//! once, and not as a loss that falls a little slower.
//!
//! A block's numbers are added up in f64, each times a fixed factor; a slope comes from four such sums around the present
//! numbers (the five-point formula). Its error has two parts. f32 rounds each number by some 1e-7, a sum of a few hundred by
//! 1e-6, and division by the step makes 1e-4 of it. The formula leaves out a fourth power of the step, 1e-4 of a slope even
//! where a block bends as sharply as the exponential of a loss. Allowed is five times that; a factor wrong by one percent
//! is twenty times as much.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Fused, storage};
use crate::model::adapter::{Adapter, LoraSettings};
use crate::model::engine::{
    Attention, Convolution, Engine, Frame, HeadNorms, Linear, Norm, Objective, ParameterId, Pooling, Recompute, Scale,
};
use crate::model::kernel::Heads;
use crate::model::kernel::adapter::{Rows, row_lengths};
use crate::model::kernel::gated::Activation;
use crate::model::kernel::lanes::testing::numbers;
use crate::model::kernel::rotary::RotaryTable;
use crate::model::parameter::{Outline, Parameter, ParameterKind, Part};
use crate::model::{CausalLm, Packed};

const STEP: f32 = 0.01;
/// The documents of all batches: around one, and more than one block of rows.
const LENGTHS: [usize; 4] = [3, 1, 40, 2];
const TOKENS: usize = 46;

fn parameter(kind: ParameterKind, shape: &[usize], seed: usize) -> Arc<Parameter> {
    let part = Part { name: "p".into(), shape: shape.to_vec() };
    let count = part.count();
    Arc::new(Parameter::new(Outline { kind, parts: vec![part] }, numbers(count, seed)))
}

fn matrix(rows: usize, columns: usize, seed: usize) -> Arc<Parameter> {
    parameter(ParameterKind::Matrix, &[rows, columns], seed)
}

fn vector(width: usize, seed: usize) -> Arc<Parameter> {
    parameter(ParameterKind::Norm, &[width], seed)
}

fn tensor(width: usize, seed: usize) -> Tensor {
    Tensor::from_vec(numbers(TOKENS * width, seed), (TOKENS, width), &Device::Cpu).unwrap()
}

fn frame(width: usize) -> Frame {
    let packed = Packed { ids: vec![0; TOKENS], lengths: LENGTHS.to_vec() };
    let frequencies: Vec<f32> = (0..width / 2).map(|i| 0.5 / (i + 1) as f32).collect();
    let rotary = Arc::from([RotaryTable::new(40, &frequencies, 1.0)]);
    Frame { places: Arc::new(packed.places(1).unwrap()), rotary, noise: None }
}

/// What stands under test: a number made of a tensor and parameters, and the slope of the number along the tensor, with
/// those along the parameters left in their buffers.
struct Subject<'a> {
    name: &'a str,
    value: &'a dyn Fn(&Tensor) -> f64,
    slope: &'a dyn Fn(&Tensor) -> Option<Tensor>,
    x: Tensor,
    parameters: Vec<Arc<Parameter>>,
}

impl Subject<'_> {
    fn check(&self) {
        let to_x = (self.slope)(&self.x);
        let x = storage::read(&self.x, <[f32]>::to_vec).unwrap();
        if let Some(to_x) = to_x {
            let at =
                |moved: &[f32]| (self.value)(&Tensor::from_vec(moved.to_vec(), self.x.shape(), &Device::Cpu).unwrap());
            compare(&format!("{}, what goes in", self.name), &x, &storage::read(&to_x, <[f32]>::to_vec).unwrap(), &at);
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            let (start, gradient) = (parameter.value().clone(), parameter.gradient());
            let put = |numbers: &[f32]| parameter.update(|value, _| value.copy_from_slice(numbers));
            let at = |moved: &[f32]| {
                put(moved);
                let value = (self.value)(&self.x);
                put(&start);
                value
            };
            compare(&format!("{}, parameter {index}", self.name), &start, &gradient, &at);
        }
    }
}

/// Compares a gradient with measured slopes: along two directions of all numbers, and along the three numbers of largest
/// slope and three others alone.
fn compare(name: &str, start: &[f32], gradient: &[f32], at: &dyn Fn(&[f32]) -> f64) {
    assert_eq!(start.len(), gradient.len(), "{name}");
    let count = start.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| gradient[*b].abs().total_cmp(&gradient[*a].abs()));
    let alone = order.iter().take(3).copied().chain([0, count / 2, count - 1]);
    let alone = alone.map(|place| (0..count).map(|i| f32::from(u8::from(i == place))).collect());
    for direction in [numbers(count, 91), numbers(count, 92)].into_iter().chain(alone) {
        let moved =
            |steps: f32| -> Vec<f32> { start.iter().zip(&direction).map(|(x, d)| x + steps * STEP * d).collect() };
        let [a, b, c, d] = [1.0, -1.0, 2.0, -2.0].map(|steps| at(&moved(steps)));
        let found = (8.0 * (a - b) - (c - d)) / (12.0 * f64::from(STEP));
        let products = || gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d));
        let (expected, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
        assert!((found - expected).abs() <= 5e-4 * (1.0 + size), "{name}: {expected} said, {found} measured");
    }
}

/// Returns the sum of a tensor's numbers, each times its factor.
fn weighed(out: &Tensor) -> f64 {
    let sum = |out: &[f32]| {
        out.iter().zip(numbers(out.len(), 55)).map(|(out, factor)| f64::from(*out) * f64::from(factor)).sum()
    };
    storage::read(out, sum).unwrap()
}

/// Checks a block that makes rows of rows.
fn check(
    name: &str,
    x: Tensor,
    parameters: &[Arc<Parameter>],
    block: impl Fn(&Fused<'_>, &Tensor) -> candle_core::Result<Tensor>,
) {
    check_with(Recompute::Nothing, name, x, parameters, block);
}

/// As [`check`], with some of the block computed again.
fn check_with(
    recompute: Recompute,
    name: &str,
    x: Tensor,
    parameters: &[Arc<Parameter>],
    block: impl Fn(&Fused<'_>, &Tensor) -> candle_core::Result<Tensor>,
) {
    Subject {
        name,
        value: &|x| weighed(&block(&Fused::to_score(parameters, None), x).unwrap()),
        slope: &|x| {
            let engine = Fused::to_train(parameters, None, recompute);
            let out = block(&engine, x).unwrap();
            let factors = Tensor::from_vec(numbers(out.elem_count(), 55), out.shape(), &Device::Cpu).unwrap();
            engine.tape.backward(&engine, &out, factors, Some(x)).unwrap()
        },
        x,
        parameters: parameters.to_vec(),
    }
    .check();
}

const FIRST: ParameterId = ParameterId(0);
const SECOND: ParameterId = ParameterId(1);

#[test]
fn a_norm() {
    for offset in [false, true] {
        let norm = Norm { weight: FIRST, epsilon: 1e-3, offset };
        check("norm", tensor(19, 1), &[vector(19, 2)], |engine, x| engine.rms_norm(x, norm));
    }
}

#[test]
fn heads_that_are_normed_and_turned() {
    let heads = Heads { query: 3, key_value: 1, width: 6 };
    let norm = |weight| Norm { weight, epsilon: 1e-3, offset: false };
    for norms in [None, Some(HeadNorms { query: norm(FIRST), key: norm(SECOND) })] {
        let parameters = if norms.is_some() { vec![vector(6, 2), vector(6, 3)] } else { Vec::new() };
        let attention = Attention { layer: 0, heads, norms, scale: 0.4, window: None, rotary: 0 };
        let frame = frame(6);
        check("heads", tensor(heads.fused_width(), 1), &parameters, |engine, x| {
            engine.prepare_heads(x, &attention, &frame)
        });
    }
}

#[test]
fn attention_inside_documents() {
    let heads = Heads { query: 4, key_value: 2, width: 6 };
    for window in [None, Some(5)] {
        let attention = Attention { layer: 0, heads, norms: None, scale: 0.7, window, rotary: 0 };
        let frame = frame(6);
        check("attention", tensor(heads.fused_width(), 1), &[], |engine, x| engine.attention(x, &attention, &frame));
    }
}

#[test]
fn a_short_convolution() {
    for bias in [None, Some(SECOND)] {
        let mut parameters = vec![parameter(ParameterKind::Convolution, &[7, 1, 3], 2)];
        parameters.extend(bias.map(|_| parameter(ParameterKind::Bias, &[7], 3)));
        let convolution = Convolution { layer: 0, weight: FIRST, bias, width: 3 };
        let frame = frame(2);
        check("convolution", tensor(21, 1), &parameters, |engine, x| engine.short_convolution(x, &convolution, &frame));
    }
}

#[test]
fn means_of_blocks_and_what_is_made_of_them() {
    let frame = frame(2);
    for factor in [2, 3] {
        let pooling = Pooling { number: 0, layer: 0, factor };
        check("means", tensor(7, 1), &[], |engine, x| Ok(engine.pool(x, pooling, &frame)?.unwrap().0));
        // What goes in is what is added to, as in a model.
        let layer = Linear { weight: FIRST, bias: None };
        check("means and what gets them", tensor(7, 1), &[matrix(7, 7, 2)], |engine, x| {
            let (means, _) = engine.pool(x, pooling, &frame)?.unwrap();
            engine.spread(Some(&engine.linear(&means, layer)?), x, pooling, &frame)
        });
    }
}

#[test]
fn gates() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        check("gate", tensor(2 * 17, 1), &[], |engine, x| engine.gated(x, activation));
    }
}

#[test]
fn linear_layers() {
    let layer = Linear { weight: FIRST, bias: Some(SECOND) };
    let parameters = [matrix(9, 13, 2), parameter(ParameterKind::Bias, &[9], 3)];
    check("linear", tensor(13, 1), &parameters, |engine, x| engine.linear(x, layer));
    let square = [matrix(13, 13, 2), parameter(ParameterKind::Bias, &[13], 3)];
    check("linear and stream", tensor(13, 1), &square, |engine, x| engine.linear_add(x, layer, x));
}

/// What comes of norms and gates is not kept but computed again: the blocks one after the other.
#[test]
fn a_feed_forward_layer() {
    let norm = Norm { weight: FIRST, epsilon: 1e-3, offset: false };
    let [up, down] = [SECOND, ParameterId(2)].map(|weight| Linear { weight, bias: None });
    for recompute in [Recompute::Nothing, Recompute::FeedForward] {
        let parameters = [vector(11, 2), matrix(2 * 8, 11, 3), matrix(11, 8, 4)];
        check_with(recompute, "feed-forward", tensor(11, 1), &parameters, |engine, x| {
            let inner = engine.linear_gated(&engine.rms_norm(x, norm)?, up, Activation::Silu)?;
            // And a norm of what is not kept itself.
            engine.linear_add(&inner, down, &engine.rms_norm(&engine.rms_norm(x, norm)?, norm)?)
        });
    }
}

#[test]
fn rows_of_a_table() {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 3 % 4).collect();
    for scale in [None, Some(2.5)] {
        let table = [parameter(ParameterKind::Table, &[5, 7], 2)];
        check("embedding", tensor(7, 1), &table, |engine, _| engine.embedding(FIRST, &ids, scale));
    }
}

#[test]
fn the_loss_with_its_head() {
    const VOCABULARY: u32 = 11;
    let parameters = [parameter(ParameterKind::Table, &[VOCABULARY as usize, 9], 2)];
    let labels: Vec<(usize, u32)> = (0..TOKENS).step_by(2).map(|row| (row, row as u32 * 5 % VOCABULARY)).collect();
    let scales: Vec<f32> = numbers(labels.len(), 7);
    for smoothing in [0.0, 0.2] {
        let smoothed = f64::from(smoothing);
        let value = |x: &Tensor| -> f64 {
            let engine = Fused::to_score(&parameters, None);
            let logs = |token: Option<u32>| {
                let labels: Vec<_> = labels.iter().map(|(row, label)| (*row, token.unwrap_or(*label))).collect();
                engine.log_probs(x, FIRST, &labels).unwrap()
            };
            let sum = |logs: Vec<f32>| -> f64 {
                logs.iter().zip(&scales).map(|(log, scale)| -f64::from(*log) * f64::from(*scale)).sum()
            };
            let all: f64 = (0..VOCABULARY).map(|token| sum(logs(Some(token)))).sum();
            (1.0 - smoothed) * sum(logs(None)) + smoothed * all / f64::from(VOCABULARY)
        };
        parameters[0].update(|_, gradient| gradient.fill(0.0));
        let slope = |x: &Tensor| {
            let engine = Fused::to_train(&parameters, None, Recompute::Nothing);
            let objective = Objective { labels: &labels, scale: Scale::Each(&scales), smoothing };
            let loss = engine.cross_entropy(x, FIRST, objective).unwrap();
            engine.tape.backward(&engine, &loss.root, loss.root.ones_like().unwrap(), Some(x)).unwrap()
        };
        Subject { name: "loss", value: &value, slope: &slope, x: tensor(9, 1), parameters: parameters.to_vec() }
            .check();
    }
}

#[test]
fn linear_layers_with_adapters() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny/tied");
    for (dora, dropout) in [(false, None), (false, Some(3)), (true, None), (true, Some(3))] {
        let mut model = CausalLm::load(&fixture).unwrap();
        model.attach(LoraSettings { rank: 2, scale: 1.5, dropout: 0.25, dora, seed: 1 }, |_| true);
        let query = |model: &CausalLm| {
            let is = |parameter: &Arc<Parameter>| parameter.parts()[0].name.contains("layers.0.self_attn.q_proj");
            model.parameters().iter().position(is).unwrap()
        };
        let weight = query(&model);
        let adapters = model.adapters().take(model.parameters()[weight].parts().len()).cloned();
        let adapters: Vec<_> = adapters.collect();
        for (seed, adapter) in adapters.iter().enumerate() {
            adapter.up.update(|value, _| value.copy_from_slice(&numbers(value.len(), 20 + seed)));
        }
        let layer = Linear { weight: ParameterId(weight), bias: None };
        let width = model.parameters()[weight].columns();
        let lengths = || -> Vec<Vec<f32>> {
            let of = |adapter: &Adapter| {
                let (value, up, down) = (model.parameters()[weight].value(), adapter.up.value(), adapter.down.value());
                let rows = adapter.rows.start * width..adapter.rows.end * width;
                row_lengths(Rows { weight: &value[rows], inputs: width, up: &up, down: &down, scale: 1.5 })
            };
            adapters.iter().map(of).collect()
        };
        // The lengths that magnitudes are divided by count as constants, as in PEFT: what moves them moves the magnitudes.
        let before = lengths();
        let follow = |back: bool| {
            for ((adapter, before), now) in adapters.iter().zip(&before).zip(lengths()) {
                if let Some(magnitude) = &adapter.magnitude {
                    let factor = |(before, now): (&f32, f32)| if back { before / now } else { now / before };
                    let factors: Vec<f32> = before.iter().zip(now).map(factor).collect();
                    magnitude.update(|value, _| value.iter_mut().zip(&factors).for_each(|(m, f)| *m *= f));
                }
            }
        };
        let score = |x: &Tensor| {
            follow(false);
            let engine = Fused::to_score(model.parameters(), model.active(dropout));
            let out = weighed(&engine.linear(x, layer).unwrap());
            follow(true);
            out
        };
        let slope = |x: &Tensor| {
            let engine = Fused::to_train(model.parameters(), model.active(dropout), Recompute::Nothing);
            let out = engine.linear(x, layer).unwrap();
            let factors = Tensor::from_vec(numbers(out.elem_count(), 55), out.shape(), &Device::Cpu).unwrap();
            engine.tape.backward(&engine, &out, factors, Some(x)).unwrap()
        };
        let parameters = adapters.iter().flat_map(Adapter::parameters).cloned().collect();
        let name = format!("adapters, dora {dora}, dropout {dropout:?}");
        Subject { name: &name, value: &score, slope: &slope, x: tensor(width, 1), parameters }.check();
    }
}
