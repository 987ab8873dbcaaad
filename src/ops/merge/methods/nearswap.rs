//! NearSwap: the base is moved towards the other model, the further the closer the two numbers are.
//!
//! PyTorch divides a scalar by a tensor as a reciprocal and a product, which rounds twice.

use super::super::part::Work;

/// What is needed for every number.
pub(in super::super) struct Near {
    parts: [usize; 2],
    t: f32,
    least: f32,
}

impl Near {
    pub(super) fn of(work: &Work<'_>) -> Self {
        let base = work.base.unwrap_or(0);
        Self { parts: [base, 1 - base], t: work.shared.number("t") as f32, least: work.round(1e-6) }
    }

    pub(in super::super) fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let dtype = work.dtype;
        scratch.resize(3 * size, 0.0);
        let (other, rest) = scratch.split_at_mut(size);
        let (weight, rest) = rest.split_at_mut(size);
        let base = &mut rest[..size];
        work.parts[self.parts[0]].read(from, base);
        work.parts[self.parts[1]].read(from, other);
        let each = |numbers: &mut [f32], with: &[f32], operation: &dyn Fn(f32, f32) -> f32| {
            numbers.iter_mut().zip(with).for_each(|(number, with)| *number = operation(*number, *with));
            dtype.round(numbers);
        };
        weight.copy_from_slice(base);
        each(weight, other, &|a, b| (a - b).abs());
        each(weight, other, &|distance, _| 1.0 / distance.max(self.least));
        each(weight, other, &|inverse, _| inverse * self.t);
        for weight in weight.iter_mut() {
            *weight = weight.clamp(0.0, 1.0);
        }
        each(other, weight, &|number, weight| weight * number);
        out.copy_from_slice(weight);
        each(out, weight, &|weight, _| 1.0 - weight);
        each(out, base, &|rest, base| rest * base);
        each(out, other, &|base, other| other + base);
    }
}
