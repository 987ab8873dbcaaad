//! Matrix products, through the `gemm` crate that candle uses too.
//!
//! candle's `matmul` cannot write into a buffer that is already there, let alone add to it, and gradients of weights are
//! nothing but that. So the crate is called directly, behind views whose bounds were checked when they were made: this
//! file is the only one that hands out pointers. The result is the same, bit for bit, for any number of threads and parts: how
//! the crate cuts the sum of a number depends on how many numbers are summed alone, but for results of at most 64 x 64.

use std::ops::Range;

use rayon::prelude::*;

/// Multiplications that one thread does sooner than several have begun.
const ALONE: usize = 1 << 20;
/// The least rows or columns of a part.
const LEAST: usize = 128;
/// What parts are multiples of: rows and columns of a tile.
const ROW_UNIT: usize = 6;
const COLUMN_UNIT: usize = 32;

/// A matrix to read: `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Returns `rows` of `columns` numbers, `row_stride` apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(data.len(), rows, columns, row_stride);
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Returns the rows of `columns` numbers that fill `data`.
    pub(crate) fn new(data: &'a [f32], columns: usize) -> Self {
        Self::strided(data, data.len() / columns.max(1), columns, columns)
    }

    /// Returns the transposed matrix.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write, its columns next to each other.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Returns `rows` of `columns` numbers, `row_stride` apart.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(data.len(), rows, columns, row_stride);
        assert!(columns <= row_stride || rows <= 1, "rows of {columns} numbers overlap, they are {row_stride} apart");
        Self { data, rows, columns, row_stride }
    }

    /// Returns the rows of `columns` numbers that fill `data`.
    pub(crate) fn new(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self::strided(data, rows, columns, columns)
    }
}

/// What happens to the numbers that are already in the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// They are forgotten.
    Replace,
    /// The product is added to them.
    Add,
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: inside a parallel task.
    One,
    /// All threads of the current rayon pool.
    Pool,
}

/// Computes `out = a · b` or `out += a · b`.
///
/// The pool is entered once: the crate's own threads meet several times in a product, and these meetings, of threads that sleep
/// in between, took a tenth of its time where it was measured. The parts are computed alone, and each number in the same
/// order as in one piece.
pub(crate) fn product(out: MatrixMut<'_>, write: Write, a: Matrix<'_>, b: Matrix<'_>, threads: Threads) {
    let MatrixMut { data, rows, columns, row_stride } = out;
    let inner = a.columns;
    assert!(
        rows == a.rows && columns == b.columns && inner == b.rows,
        "{rows}x{columns} is not the product of {}x{inner} and {}x{}",
        a.rows,
        b.rows,
        b.columns
    );
    if rows == 0 || columns == 0 {
        return;
    }
    let whole = Job { out: data.as_mut_ptr(), row_stride, write, a, b };
    let threads = match threads {
        Threads::Pool if rows * columns * inner.max(1) >= ALONE => rayon::current_num_threads(),
        _ => 1,
    };
    let (across, down) = grid(rows, columns, threads);
    if across * down == 1 {
        whole.run(0..rows, 0..columns);
        return;
    }
    (0..across * down).into_par_iter().for_each(|part| {
        let rows = share(rows, ROW_UNIT, part / across, down);
        let columns = share(columns, COLUMN_UNIT, part % across, across);
        whole.run(rows, columns);
    });
}

/// A product and where it goes.
struct Job<'a> {
    out: *mut f32,
    row_stride: usize,
    write: Write,
    a: Matrix<'a>,
    b: Matrix<'a>,
}

// SAFETY: the pointer stands for a slice that `product` has borrowed for writing until all parts are done, and no two parts
// write the same element.
#[expect(unsafe_code, reason = "parts of one output are written by several threads")]
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// Computes some rows and columns of the output.
    #[expect(unsafe_code, reason = "the gemm crate takes pointers")]
    fn run(&self, rows: Range<usize>, columns: Range<usize>) {
        let (a, b, add) = (self.a, self.b, self.write == Write::Add);
        let (alpha, beta) = (if add { 1.0f32 } else { 0.0 }, 1.0f32);
        // SAFETY: the ranges lie inside the output and the factors, and every element that their strides name lies inside its
        // slice (`check`); rows of the output do not overlap, and it is borrowed for writing, so it aliases neither factor.
        unsafe {
            gemm::gemm(
                rows.len(),
                columns.len(),
                a.columns,
                self.out.add(rows.start * self.row_stride + columns.start),
                1,
                self.row_stride as isize,
                add,
                a.data.as_ptr().add(rows.start * a.row_stride),
                a.column_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr().add(columns.start * b.column_stride),
                b.column_stride as isize,
                b.row_stride as isize,
                alpha,
                beta,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// Returns into how many parts columns and rows are divided: the longer side first, since each part copies all of the factor
/// that it has whole. A part is never so small that the crate would sum its numbers in another order than those of the whole.
fn grid(rows: usize, columns: usize, threads: usize) -> (usize, usize) {
    if rows.min(columns) <= 1 {
        return (1, 1);
    }
    let parts = |length: usize, wanted: usize| wanted.min(length / LEAST).max(1);
    if columns >= rows {
        let across = parts(columns, threads);
        (across, parts(rows, threads.div_ceil(across)))
    } else {
        let down = parts(rows, threads);
        (parts(columns, threads.div_ceil(down)), down)
    }
}

/// Returns one of `parts` even shares of a length, cut where the crate's tiles are.
fn share(length: usize, unit: usize, part: usize, parts: usize) -> Range<usize> {
    let units = length.div_ceil(unit);
    let at = |part: usize| (units * part / parts * unit).min(length);
    at(part)..at(part + 1)
}

/// Panics unless the last element of the matrix lies inside a slice of `len` numbers.
fn check(len: usize, rows: usize, columns: usize, row_stride: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    let end = (rows - 1).checked_mul(row_stride).and_then(|start| start.checked_add(columns));
    assert!(end.is_some_and(|end| end <= len), "{rows}x{columns} at stride {row_stride} exceeds {len} numbers");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::lanes::testing::numbers;

    #[test]
    fn products_of_all_layouts_equal_the_definition() {
        let (m, n, k) = (5, 7, 33);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let at: Vec<f32> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
        let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let exact: Vec<f64> = (0..m * n)
            .map(|i| (0..k).map(|j| f64::from(a[(i / n) * k + j]) * f64::from(b[j * n + i % n])).sum())
            .collect();
        for left in [Matrix::new(&a, k), Matrix::new(&at, m).t()] {
            for right in [Matrix::new(&b, n), Matrix::new(&bt, k).t()] {
                let mut out = vec![1.0; m * n];
                product(MatrixMut::new(&mut out, n), Write::Replace, left, right, Threads::One);
                assert!(out.iter().zip(&exact).all(|(x, y)| (f64::from(*x) - y).abs() < 1e-5));
                product(MatrixMut::new(&mut out, n), Write::Add, left, right, Threads::Pool);
                assert!(out.iter().zip(&exact).all(|(x, y)| (f64::from(*x) - 2.0 * y).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let cut = [(512, 960, 576), (64, 700, 1100), (700, 64, 1100), (129, 257, 700), (1, 3000, 600), (3000, 1, 600)];
        for (m, n, k) in
            [(300, 512, 256), (512, 64, 96), (37, 53, 1000), (1, 512, 512), (256, 4099, 70)].into_iter().chain(cut)
        {
            let (a, b, start) = (numbers(m * k, 3), numbers(n * k, 4), numbers(m * n, 5));
            let mut alone = start.clone();
            let (left, right) = (Matrix::new(&a, k), Matrix::new(&b, k).t());
            product(MatrixMut::new(&mut alone, n), Write::Add, left, right, Threads::One);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = start.clone();
                pool.install(|| {
                    product(MatrixMut::new(&mut out, n), Write::Add, left, right, Threads::Pool);
                });
                out
            };
            assert!([1, 2, 3, 7, 16].into_iter().all(|threads| run(threads) == alone), "{m}x{n}x{k}");
        }
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn a_view_beyond_its_slice_is_refused() {
        Matrix::strided(&[0.0; 10], 3, 4, 4);
    }
}
