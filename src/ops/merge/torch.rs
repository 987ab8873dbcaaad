//! Sums and lengths in the order in which PyTorch adds on a processor with AVX2 and one thread.
//!
//! The sum of many f32 numbers depends on the order of the additions, and what MergeKit merges depends on such sums: the
//! angle of a slerp, the rescaling of a sparsified difference. So the order is part of the result. PyTorch's sum is a
//! cascade: four vectors of eight lanes side by side, partial sums moved up a level after every few rows, so that small
//! numbers are not lost against a large sum. Its norm is one vector of eight lanes, straight through. (Its 16-bit types
//! are read in vectors of sixteen, whose halves are added first.) The cascade is also what lets threads share the work:
//! the rows between two moves are a sum of their own.

use rayon::prelude::*;

use super::fused::{Kernel, vectorized};

/// Lanes of a vector.
const LANES: usize = 8;
/// Vectors side by side.
const SIDE: usize = 4;
/// Levels of the cascade.
const LEVELS: usize = 4;
/// Rows that a thread adds at a time, at least.
const ROWS_AT_ONCE: usize = 1 << 11;

type Row = [[f32; LANES]; SIDE];

/// Writes numbers, from a place on, into a slice.
pub(super) type Read<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// Returns the sum of `count` numbers; `paired` for those of a 16-bit type.
pub(super) fn sum(count: usize, paired: bool, read: Read<'_>) -> f32 {
    let [sum] = sums(count, paired, |from, [out]: &mut [Vec<f32>; 1]| read(from, out));
    sum
}

/// Returns several sums of `count` numbers each, which are read together.
pub(super) fn sums<const N: usize>(
    count: usize,
    paired: bool,
    read: impl Fn(usize, &mut [Vec<f32>; N]) + Sync,
) -> [f32; N] {
    let width = if paired { 2 * LANES } else { LANES };
    let rows = count / width / SIDE;
    let step = 1_usize << level_power(rows);
    let block = step * SIDE * width;
    let blocks = rows / step;
    let per_thread = ROWS_AT_ONCE.div_ceil(step).max(1);
    let empty = || [(); N].map(|()| Vec::new());
    let parts: Vec<[Vec<Row>; N]> = (0..blocks.div_ceil(per_thread))
        .into_par_iter()
        .map_init(empty, |numbers, part| {
            let (first, last) = (part * per_thread, ((part + 1) * per_thread).min(blocks));
            for numbers in numbers.iter_mut() {
                numbers.resize((last - first) * block, 0.0);
            }
            read(first * block, numbers);
            numbers.each_ref().map(|numbers| {
                numbers.chunks_exact(block).map(|rows| vectorized(AddRows { numbers: rows, width })).collect()
            })
        })
        .collect();
    let start = blocks * block;
    let mut rest = empty();
    for numbers in &mut rest {
        numbers.resize(count - start, 0.0);
    }
    read(start, &mut rest);
    std::array::from_fn(|which| {
        let mut cascade = Cascade::new(rows);
        parts.iter().flat_map(|part| &part[which]).for_each(|sum| cascade.block(sum));
        let (whole, after) = rest[which].split_at((rows - blocks * step) * SIDE * width);
        total(cascade.end(whole, width), after, width)
    })
}

/// Adds the vectors after the last row to the rows, the rows and the lanes to each other, and the numbers after those.
fn total(mut rows: Row, after: &[f32], width: usize) -> f32 {
    let (vectors, scalars) = after.split_at(after.len() / width * width);
    for vector in vectors.chunks_exact(width) {
        add_vector(&mut rows[0], vector);
    }
    let [mut lanes, others @ ..] = rows;
    for vector in &others {
        add_vector(&mut lanes, vector);
    }
    lanes.iter().fold(scalars.iter().sum::<f32>() + 0.0, |sum, lane| sum + lane)
}

/// Returns the sum of numbers that lie side by side.
pub(super) fn sum_of(numbers: &[f32], paired: bool) -> f32 {
    sum(numbers.len(), paired, &|from, out| out.copy_from_slice(&numbers[from..from + out.len()]))
}

/// Returns the sum of numbers that lie apart, as a column of a matrix does: one lane, the same cascade.
pub(super) fn sum_apart(numbers: &[f32]) -> f32 {
    let power = level_power(numbers.len());
    let step = 1_usize << power;
    let mut levels = [0.0_f32; LEVELS];
    let mut chunks = numbers.chunks_exact(step);
    for (i, chunk) in chunks.by_ref().enumerate() {
        levels[0] = chunk.iter().fold(levels[0], |sum, number| sum + number);
        let done = (i + 1) * step;
        for level in 1..LEVELS {
            levels[level] += levels[level - 1];
            levels[level - 1] = 0.0;
            if done & ((step - 1) << (level * power)) != 0 {
                break;
            }
        }
    }
    levels[0] = chunks.remainder().iter().fold(levels[0], |sum, number| sum + number);
    levels[1] + levels[0] + levels[2] + levels[3]
}

/// Returns the length of a vector of numbers that lie side by side.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn norm(numbers: &[f32], paired: bool) -> f32 {
    let width = if paired { 2 * LANES } else { LANES };
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = numbers.split_at(numbers.len() / width * width);
    for vector in whole.chunks_exact(LANES) {
        for (lane, number) in lanes.iter_mut().zip(vector) {
            *lane += number * number;
        }
    }
    let [first, others @ ..] = lanes;
    let sum = others.iter().fold(first, |sum, lane| sum + lane);
    rest.iter().fold(sum, |sum, number| sum + number * number).sqrt()
}

/// Returns the length of a vector of numbers that lie apart.
pub(super) fn norm_apart(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0_f32, |sum, number| sum + number * number).sqrt()
}

/// Returns the power of two of the rows between two moves up the cascade.
fn level_power(rows: usize) -> usize {
    let log = if rows <= 2 { 1 } else { usize::BITS - (rows - 1).leading_zeros() };
    (log as usize / LEVELS).max(4)
}

/// The sum of rows.
struct AddRows<'a> {
    numbers: &'a [f32],
    width: usize,
}

impl Kernel for AddRows<'_> {
    type Out = Row;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) -> Row {
        let mut sums = Row::default();
        for row in self.numbers.chunks_exact(SIDE * self.width) {
            for (sum, vector) in sums.iter_mut().zip(row.chunks_exact(self.width)) {
                add_vector(sum, vector);
            }
        }
        sums
    }
}

/// Adds a vector; of one that is twice as long the halves are added to each other first.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn add_vector(sum: &mut [f32; LANES], vector: &[f32]) {
    if let Some(vector) = vector.first_chunk::<{ 2 * LANES }>() {
        for lane in 0..LANES {
            sum[lane] += vector[lane] + vector[lane + LANES];
        }
    } else if let Some(vector) = vector.first_chunk::<LANES>() {
        for lane in 0..LANES {
            sum[lane] += vector[lane];
        }
    }
}

/// The levels above the rows.
struct Cascade {
    levels: [Row; LEVELS],
    power: usize,
    rows: usize,
}

impl Cascade {
    fn new(rows: usize) -> Self {
        Self { levels: [Row::default(); LEVELS], power: level_power(rows), rows: 0 }
    }

    /// Adds the sum of the rows between two moves.
    fn block(&mut self, sum: &Row) {
        let step = 1_usize << self.power;
        self.rows += step;
        self.levels[0] = *sum;
        for level in 1..LEVELS {
            let below = std::mem::take(&mut self.levels[level - 1]);
            add_row(&mut self.levels[level], &below);
            if self.rows & ((step - 1) << (level * self.power)) != 0 {
                break;
            }
        }
    }

    /// Adds the rows after the last move, and the levels to each other.
    fn end(mut self, rest: &[f32], width: usize) -> Row {
        let mut total = self.levels[0];
        for row in rest.chunks_exact(SIDE * width) {
            for (sum, vector) in total.iter_mut().zip(row.chunks_exact(width)) {
                add_vector(sum, vector);
            }
        }
        for level in &mut self.levels[1..] {
            add_row(&mut total, level);
        }
        total
    }
}

fn add_row(sums: &mut Row, row: &Row) {
    for (sum, vector) in sums.iter_mut().zip(row) {
        add_vector(sum, vector);
    }
}
