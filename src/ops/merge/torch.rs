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
const ROWS_AT_ONCE: usize = 1 << 9;
/// Numbers of a sum that are read at a time, if the rows between two moves are no more.
const NEAR: usize = 1 << 12;
/// Numbers of a length that a thread reads at a time; a multiple of every vector.
const PIECE: usize = 1 << 14;

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
            let mut rows = [(); N].map(|()| Vec::with_capacity(last - first));
            // Few at a time, so that they stay in the nearest cache.
            let at_once = (NEAR / block).max(1);
            for from in (first..last).step_by(at_once) {
                let count = at_once.min(last - from) * block;
                for numbers in numbers.iter_mut() {
                    numbers.resize(count, 0.0);
                }
                read(from * block, numbers);
                for (rows, numbers) in rows.iter_mut().zip(&*numbers) {
                    rows.extend(numbers.chunks_exact(block).map(|rows| vectorized(AddRows { numbers: rows, width })));
                }
            }
            rows
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

/// Sums of columns of a matrix, whose numbers lie apart: one lane each, the same cascade. Rows are given one by one.
pub(super) struct Columns {
    levels: [Vec<f32>; LEVELS],
    power: usize,
    rows: usize,
}

impl Columns {
    /// Begins the sums of `columns` columns of `rows` rows.
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        Self { levels: std::array::from_fn(|_| vec![0.0; columns]), power: level_power(rows), rows: 0 }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, numbers: &[f32]) {
        self.levels[0].iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        self.rows += 1;
        let step = 1_usize << self.power;
        if !self.rows.is_multiple_of(step) {
            return;
        }
        for level in 1..LEVELS {
            let (below, here) = self.levels.split_at_mut(level);
            here[0].iter_mut().zip(&mut below[level - 1]).for_each(|(sum, below)| *sum += std::mem::take(below));
            if self.rows & ((step - 1) << (level * self.power)) != 0 {
                break;
            }
        }
    }

    /// Returns the sums.
    pub(super) fn end(self) -> Vec<f32> {
        let [first, second, third, fourth] = self.levels;
        let each = second.into_iter().zip(first).zip(third).zip(fourth);
        each.map(|(((second, first), third), fourth)| second + first + third + fourth).collect()
    }
}

/// Returns the sum of numbers that lie apart, as a column of a matrix does.
pub(super) fn sum_apart(numbers: &[f32]) -> f32 {
    let mut column = Columns::new(1, numbers.len());
    for number in numbers {
        column.row(&[*number]);
    }
    column.end()[0]
}

/// Returns the length of a vector of numbers that lie side by side.
pub(super) fn norm(numbers: &[f32], paired: bool) -> f32 {
    let (whole, rest) = numbers.split_at(whole(numbers.len(), paired));
    let mut lanes = [[0.0; LANES]];
    vectorized(AddSquares { lanes: &mut lanes, numbers: &[whole] });
    length(&lanes[0], rest)
}

/// Returns the lengths of several vectors of `count` numbers each, which are read together. The additions follow one
/// another; what threads share is the reading.
pub(super) fn norms<const N: usize>(
    count: usize,
    paired: bool,
    read: impl Fn(usize, &mut [Vec<f32>; N]) + Sync,
) -> [f32; N] {
    let end = whole(count, paired);
    let mut lanes = [[0.0; LANES]; N];
    let at_once = 2 * rayon::current_num_threads();
    let mut pieces: Vec<[Vec<f32>; N]> = Vec::new();
    pieces.resize_with(at_once.min(end.div_ceil(PIECE)), || [(); N].map(|()| Vec::new()));
    for start in (0..end).step_by(at_once * PIECE) {
        let used = (end - start).div_ceil(PIECE).min(at_once);
        pieces[..used].par_iter_mut().enumerate().for_each(|(i, numbers)| {
            let from = start + i * PIECE;
            for numbers in numbers.iter_mut() {
                numbers.resize(PIECE.min(end - from), 0.0);
            }
            read(from, numbers);
        });
        for piece in &pieces[..used] {
            vectorized(AddSquares { lanes: &mut lanes, numbers: &piece.each_ref().map(Vec::as_slice) });
        }
    }
    let mut rest = [(); N].map(|()| vec![0.0; count - end]);
    read(end, &mut rest);
    std::array::from_fn(|which| length(&lanes[which], &rest[which]))
}

/// Returns how many numbers of a vector are added in lanes.
fn whole(count: usize, paired: bool) -> usize {
    let width = if paired { 2 * LANES } else { LANES };
    count / width * width
}

fn length(lanes: &[f32; LANES], rest: &[f32]) -> f32 {
    let [first, others @ ..] = lanes;
    let sum = others.iter().fold(*first, |sum, lane| sum + lane);
    rest.iter().fold(sum, |sum, number| sum + number * number).sqrt()
}

/// The lengths of vectors in f32 that come in pieces, each but the last a multiple of eight numbers.
pub(super) struct Lengths<const N: usize> {
    lanes: [[f32; LANES]; N],
    rest: [Vec<f32>; N],
}

impl<const N: usize> Default for Lengths<N> {
    fn default() -> Self {
        Self { lanes: [[0.0; LANES]; N], rest: [(); N].map(|()| Vec::new()) }
    }
}

impl<const N: usize> Lengths<N> {
    /// Adds a piece of each.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(super) fn add(&mut self, pieces: &[&[f32]; N]) {
        AddSquares { lanes: &mut self.lanes, numbers: pieces }.run();
        for (rest, piece) in self.rest.iter_mut().zip(pieces) {
            rest.extend_from_slice(piece.as_chunks::<LANES>().1);
        }
    }

    /// Returns the lengths.
    pub(super) fn end(self) -> [f32; N] {
        std::array::from_fn(|which| length(&self.lanes[which], &self.rest[which]))
    }
}

/// Adds the squares of vectors of the same length, side by side because each addition waits for the one before.
struct AddSquares<'a, const N: usize> {
    lanes: &'a mut [[f32; LANES]; N],
    numbers: &'a [&'a [f32]; N],
}

impl<const N: usize> Kernel for AddSquares<'_, N> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let vectors = self.numbers.map(|numbers| numbers.as_chunks::<LANES>().0);
        let mut lanes = *self.lanes;
        #[expect(clippy::needless_range_loop, reason = "one row of all of them at a time")]
        for row in 0..vectors.iter().map(|vectors| vectors.len()).min().unwrap_or(0) {
            for which in 0..N {
                for lane in 0..LANES {
                    let number = vectors[which][row][lane];
                    lanes[which][lane] += number * number;
                }
            }
        }
        *self.lanes = lanes;
    }
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
