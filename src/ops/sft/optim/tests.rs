//! The rules beside bitsandbytes and torch, whose results `tests/fixtures/optim/make.py` wrote down.

use std::path::Path;

use super::adamw::{AdamW, Settings};
use super::muon::Muon;
use super::quantised::AdamW8bit;
use super::{Array, Beat, Kept, State};
use crate::spec::params::SftParams;
use crate::tensor::TensorFile;

fn number(place: usize, step: usize) -> f32 {
    (((place * 7919 + step * 104_729 + place * place % 613) % 1000) as f32 - 500.0) / 1000.0
}

fn gradient(count: usize, step: usize) -> Vec<f32> {
    let decades = [1.0, 0.1, 0.01, 0.001];
    (0..count).map(|place| number(place, step) * decades[place / 7 % 4]).collect()
}

fn weights(count: usize) -> Vec<f32> {
    (0..count).map(|place| number(place, 0)).collect()
}

fn settings() -> Settings {
    let fields = serde_json::json!({"model": "m", "data": ["d"]});
    Settings::of(&serde_json::from_value::<SftParams>(fields).unwrap())
}

fn beat(step: u64) -> Beat {
    Beat { step, learning_rate: 1e-2, clip: 1.0, decay: 0.1 }
}

/// Takes steps, each with a rule that was kept and taken back, and calls `seen` after each.
fn train(
    mut state: Box<dyn State>,
    fresh: impl Fn() -> Box<dyn State>,
    count: usize,
    steps: usize,
    seen: &mut dyn FnMut(usize, &[f32]),
) {
    let mut value = weights(count);
    for step in 1..=steps {
        let mut slope = gradient(count, step);
        state.update(&mut value, &mut slope, &beat(step as u64));
        assert!(slope.iter().all(|slope| slope.to_bits() == 0));
        seen(step, &value);
        let kept: Vec<(&str, Kept)> = state
            .arrays()
            .into_iter()
            .map(|(name, array)| match array {
                Array::F32(numbers) => (name, Kept::F32(numbers.to_vec())),
                Array::U8(numbers) => (name, Kept::U8(numbers.to_vec())),
            })
            .collect();
        let mut kept = kept;
        state = fresh();
        let mut take = |wanted: &str| {
            let place = kept.iter().position(|(name, _)| *name == wanted)?;
            Some(kept.swap_remove(place).1)
        };
        state.restore(&mut take).unwrap();
    }
}

fn golden() -> TensorFile {
    TensorFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optim/golden.safetensors")).unwrap()
}

/// Returns the greatest difference, and how many numbers differ by more than the last bits.
fn difference(a: &[f32], b: &[f32]) -> (f32, usize) {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let far = apart.clone().filter(|apart| *apart > 2e-7).count();
    (apart.fold(0.0, f32::max), far)
}

#[test]
fn moments_in_8_bits_are_those_of_bitsandbytes() {
    let golden = golden();
    for count in [5000, 4096] {
        let fresh = || -> Box<dyn State> { Box::new(AdamW8bit::new(settings())) };
        train(fresh(), fresh, count, 20, &mut |step, value| {
            let Some(expected) = golden.get(&format!("adamw_8bit.{count}.{step}")) else { return };
            let (worst, far) = difference(value, &expected.to_f32());
            assert!(worst <= 1e-7, "{count} after {step}: {far} differ, by {worst:e} at most");
        });
    }
    // Small tensors are kept in 32 bits.
    let fresh = || -> Box<dyn State> { Box::new(AdamW::new(settings(), 0)) };
    train(fresh(), fresh, 1000, 20, &mut |step, value| {
        let Some(expected) = golden.get(&format!("adamw_8bit.1000.{step}")) else { return };
        let (worst, _) = difference(value, &expected.to_f32());
        assert!(worst <= 1e-6, "after {step}: {worst:e}");
    });
}

#[test]
fn muon_is_that_of_torch() {
    let golden = golden();
    for (rows, columns) in [(24, 40), (40, 24), (32, 32)] {
        let fresh = || -> Box<dyn State> { Box::new(Muon::new(0.95, columns, 0)) };
        let mut last = Vec::new();
        train(fresh(), fresh, rows * columns, 10, &mut |_, value| last = value.to_vec());
        let expected = golden.get(&format!("muon.{rows}x{columns}")).unwrap().to_f32();
        let (worst, _) = difference(&last, &expected);
        assert!(worst <= 2e-5, "{rows} x {columns}: {worst:e}");
        // torch rounds the iterations to bfloat16, which moves a weight by a small part of its ten steps.
        let rounded = golden.get(&format!("muon_bf16.{rows}x{columns}")).unwrap().to_f32();
        let (worst, _) = difference(&last, &rounded);
        let moved = difference(&last, &weights(rows * columns)).0;
        assert!(worst <= 0.1 * moved, "{rows} x {columns}: {worst:e} of {moved:e}");
    }
}
