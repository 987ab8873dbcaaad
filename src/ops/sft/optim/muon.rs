//! Muon (Jordan 2024): the momentum of a matrix, made nearly orthogonal by five Newton-Schulz iterations.
//!
//! As `torch.optim.Muon` with Nesterov momentum and `adjust_lr_fn="match_rms_adamw"` (Liu et al. 2025), so that learning
//! rates of AdamW fit. torch rounds the iterations to bfloat16; here they are computed in f32.

use super::{Array, Beat, Kept, State};
use crate::model::matrix::{Matrix, MatrixMut, Threads, Write, product};

/// The coefficients of the quintic, chosen for the steepest rise at zero.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
const EPSILON: f64 = 1e-7;

/// The momentum of a matrix. Empty before the first step.
#[derive(Debug)]
pub(super) struct Muon {
    momentum: f64,
    columns: usize,
    average: Vec<f32>,
}

impl Muon {
    /// Returns the rule of a matrix with so many columns and numbers.
    pub(super) fn new(momentum: f64, columns: usize, count: usize) -> Self {
        Self { momentum, columns, average: Vec::with_capacity(count) }
    }
}

impl State for Muon {
    fn update(&mut self, value: &mut [f32], gradient: &mut [f32], beat: &Beat) {
        self.average.resize(value.len(), 0.0);
        let (clip, fresh, momentum) = (beat.clip as f32, (1.0 - self.momentum) as f32, self.momentum as f32);
        for (gradient, average) in gradient.iter_mut().zip(&mut self.average) {
            *gradient *= clip;
            *average += (*gradient - *average) * fresh;
            *gradient += (*average - *gradient) * momentum;
        }
        orthogonalise(gradient, self.columns);
        let rows = value.len() / self.columns;
        let longer = rows.max(self.columns) as f64;
        let keep = (1.0 - beat.learning_rate * beat.decay) as f32;
        let step = (beat.learning_rate * 0.2 * longer.sqrt()) as f32;
        for (value, gradient) in value.iter_mut().zip(gradient) {
            *value = *value * keep - step * *gradient;
            *gradient = 0.0;
        }
    }

    fn arrays(&self) -> Vec<(&'static str, Array<'_>)> {
        vec![("average", Array::F32(&self.average))]
    }

    fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Kept>) -> Option<()> {
        self.average = take("average")?.f32()?;
        Some(())
    }
}

/// Moves the singular values of a matrix near 1.
fn orthogonalise(x: &mut [f32], columns: usize) {
    let norm = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt().max(EPSILON) as f32;
    for x in x.iter_mut() {
        *x /= norm;
    }
    let rows = x.len() / columns;
    let wide = rows <= columns;
    let side = rows.min(columns);
    let [a, b, c] = QUINTIC;
    let (mut gram, mut square, mut moved) = (vec![0.0; side * side], vec![0.0; side * side], vec![0.0; x.len()]);
    for _ in 0..ITERATIONS {
        let matrix = Matrix::new(x, columns);
        let (left, right) = if wide { (matrix, matrix.t()) } else { (matrix.t(), matrix) };
        product(MatrixMut::new(&mut gram, side), Write::Replace, left, right, Threads::Pool);
        let both = Matrix::new(&gram, side);
        product(MatrixMut::new(&mut square, side), Write::Replace, both, both, Threads::Pool);
        gram.iter_mut().zip(&square).for_each(|(gram, square)| *gram = b * *gram + c * square);
        let polynomial = Matrix::new(&gram, side);
        let (left, right) = if wide { (polynomial, matrix) } else { (matrix, polynomial) };
        product(MatrixMut::new(&mut moved, columns), Write::Replace, left, right, Threads::Pool);
        x.iter_mut().zip(&moved).for_each(|(x, moved)| *x = a * *x + moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_values_come_near_one() {
        for (rows, columns) in [(1, 1), (3, 5), (5, 3), (16, 16)] {
            let mut x: Vec<f32> = (0..rows * columns).map(|i| ((i * i * 31 + i * 7) % 23) as f32 - 11.0).collect();
            orthogonalise(&mut x, columns);
            // The sum of the squares of singular values, each between 0.5 and 1.3 of rows or columns.
            let energy = x.iter().map(|x| x * x).sum::<f32>() / rows.min(columns) as f32;
            assert!((0.3..1.7).contains(&energy), "{rows} x {columns}: {energy}");
        }
    }
}
