//! The best approximation of a matrix by two thin ones: its largest singular values with their vectors.
//!
//! The decomposition is faer's, of the whole matrix in f32, as LAPACK's in PyTorch. It runs on one thread, so that its
//! sums do not depend on how many there are; several matrices are decomposed side by side instead.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par};

use crate::tensor::Dtype;

/// Singular values, largest first, and their vectors as columns.
pub(super) struct Decomposed {
    pub(super) values: Vec<f32>,
    left: Mat<f32>,
    right: Mat<f32>,
}

/// How much of a matrix is kept, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) most: usize,
    /// Singular values up to this one are dropped.
    pub(super) epsilon: f64,
    /// Whether both thin matrices get the roots of the singular values, or the first one all.
    pub(super) distribute: bool,
}

/// Decomposes a matrix of `rows` rows.
pub(super) fn decompose(numbers: &[f32], rows: usize) -> Result<Decomposed, String> {
    if !numbers.iter().all(|number| number.is_finite()) {
        return Err("the difference of the models holds numbers that are infinite or undefined".into());
    }
    let columns = numbers.len() / rows.max(1);
    let size = rows.min(columns);
    let matrix = MatRef::from_row_major_slice(numbers, rows, columns);
    let (mut left, mut right) = (Mat::zeros(rows, size), Mat::zeros(columns, size));
    let mut values = faer::diag::Diag::zeros(size);
    let thin = ComputeSvdVectors::Thin;
    let scratch = svd_scratch::<f32>(rows, columns, thin, thin, Par::Seq, faer::prelude::default());
    svd(
        matrix,
        values.as_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        faer::prelude::default(),
    )
    .map_err(|_| "its singular values cannot be found: the iteration does not end".to_owned())?;
    let values = values.column_vector().iter().copied().collect();
    Ok(Decomposed { values, left, right })
}

/// Returns the singular values of a matrix of `rows` rows, largest first.
pub(in crate::ops) fn singular_values(numbers: &[f32], rows: usize) -> Result<Vec<f32>, String> {
    decompose(numbers, rows).map(|found| found.values)
}

impl Decomposed {
    /// Returns how many singular values are kept.
    pub(super) fn rank(&self, cut: &Cut) -> usize {
        let large = self.values.iter().filter(|value| cut.epsilon <= 0.0 || f64::from(**value) > cut.epsilon).count();
        large.min(cut.most)
    }

    /// Returns the share of the sum of squares that these singular values make up, as two sums.
    pub(super) fn energy(&self, rank: usize) -> (f64, f64) {
        let squares = |values: &[f32]| values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        (squares(&self.values[..rank]), squares(&self.values))
    }

    /// Returns the bytes of the thin matrices: `rank` rows, and `rank` columns.
    pub(super) fn thin(&self, rank: usize, distribute: bool, dtype: Dtype) -> (Vec<u8>, Vec<u8>) {
        let scales = |i: usize| {
            let value = self.values[i];
            if distribute { (value.sqrt(), value.sqrt()) } else { (value, 1.0) }
        };
        let columns = self.right.nrows();
        let mut down = Vec::with_capacity(rank * columns);
        for i in 0..rank {
            down.extend((0..columns).map(|j| self.right[(j, i)] * scales(i).0));
        }
        let mut up = Vec::with_capacity(rank * self.left.nrows());
        for i in 0..self.left.nrows() {
            up.extend((0..rank).map(|j| self.left[(i, j)] * scales(j).1));
        }
        let bytes = |numbers: &[f32]| {
            let mut bytes = vec![0; numbers.len() * dtype.size()];
            dtype.write_f32(numbers, &mut bytes);
            bytes
        };
        (bytes(&down), bytes(&up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| ((i * i + 3 * i) as f32 * 0.137).sin()).collect()
    }

    fn f32s(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect()
    }

    #[test]
    fn all_singular_values_give_the_matrix_back() {
        for (rows, columns) in [(7, 5), (5, 7), (6, 6), (40, 3), (1, 4), (200, 150)] {
            let matrix = numbers(rows, columns);
            let found = decompose(&matrix, rows).unwrap();
            assert!(found.values.is_sorted_by(|a, b| a >= b));
            for distribute in [true, false] {
                let rank = found.rank(&Cut { most: 1000, epsilon: 0.0, distribute });
                let (down, up) = found.thin(rank, distribute, Dtype::F32);
                let (down, up) = (f32s(&down), f32s(&up));
                for i in 0..rows {
                    for j in 0..columns {
                        let sum: f32 = (0..rank).map(|k| up[i * rank + k] * down[k * columns + j]).sum();
                        assert!((sum - matrix[i * columns + j]).abs() < 2e-5, "{rows}x{columns} {i},{j}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rank_is_cut_by_number_and_by_size() {
        let matrix = [3.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.5];
        let found = decompose(&matrix, 3).unwrap();
        let rank = |most, epsilon| found.rank(&Cut { most, epsilon, distribute: true });
        assert_eq!((rank(9, 0.0), rank(2, 0.0), rank(9, 0.5), rank(9, 2.5), rank(9, 3.0)), (3, 2, 2, 1, 0));
        let (kept, all) = found.energy(1);
        assert!((kept - 9.0).abs() < 1e-5 && (all - 13.25).abs() < 1e-5);
        assert!(decompose(&[f32::NAN], 1).is_err());
        assert_eq!(decompose(&[0.0; 6], 2).unwrap().values, [0.0, 0.0]);
    }
}
