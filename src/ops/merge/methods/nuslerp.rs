//! NuSLERP: spherical interpolation by weights, of two tensors or of their differences to a base, as one vector or
//! along the last or the first axis.
//!
//! Unlike `slerp` it computes in the type of the tensors. Numbers along the first axis lie apart, and PyTorch adds those
//! in another order.

use rayon::prelude::*;

use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array::{self, split, with};

/// Vectors shorter than this are divided by it.
const LEAST_LENGTH: f64 = 1e-7;

/// Columns that a thread looks at together.
const COLUMNS: usize = 256;

/// What is needed for every number.
struct Arcs {
    parts: [usize; 2],
    lines: Lines,
    /// What the numbers of the line of each number are made with.
    of_lines: Vec<Arc>,
}

/// The two factors of a line, and what their sum is divided by; nothing along the chord.
#[derive(Clone, Copy)]
struct Arc {
    first: f32,
    second: f32,
    divisor: Option<f32>,
}

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let others = array::others(work);
    let t = ratio(work, &others);
    let lines = Lines::of(work);
    let parts = [others[0], others[1]];
    let cosines = match lines {
        Lines { stride: 1, .. } if lines.length <= array::PIECE => short_lines(work, parts, &lines),
        Lines { stride: 1, .. } => (0..lines.count).map(|line| long_line(work, parts, &lines, line)).collect(),
        _ => columns(work, parts, &lines),
    };
    let of_lines = cosines.into_iter().map(|cosine| Arc::of(work, cosine, t)).collect();
    Combine::Each(Box::new(Arcs { parts, lines, of_lines }))
}

/// Returns how far the result is from the first vector to the second.
fn ratio(work: &Work<'_>, parts: &[usize]) -> f64 {
    let weights: Vec<f64> = parts.iter().map(|i| work.each[*i].number("weight")).collect();
    let total: f64 = weights.iter().sum();
    if total.abs() < 1e-6 { 0.5 } else { weights[1] / total }
}

/// Returns the factors of both vectors and what their sum is divided by, for each of the cosines.
pub(in super::super) fn coefficients(work: &Work<'_>, cosines: &[f32]) -> [Vec<f32>; 3] {
    let t = ratio(work, &array::others(work));
    let arcs = || cosines.iter().map(|cosine| Arc::of(work, cosine.clamp(-1.0, 1.0), t));
    [
        arcs().map(|arc| arc.first).collect(),
        arcs().map(|arc| arc.second).collect(),
        arcs().map(|arc| arc.divisor.unwrap_or(1.0)).collect(),
    ]
}

/// How a tensor falls into vectors.
pub(in super::super) struct Lines {
    pub(in super::super) count: usize,
    length: usize,
    stride: usize,
}

impl Lines {
    pub(in super::super) fn of(work: &Work<'_>) -> Self {
        let count = work.count();
        match work.shape {
            [first, .., last] if !work.shared.flag("nuslerp_flatten") => {
                if work.shared.flag("nuslerp_row_wise") {
                    Self { count: count / first, length: *first, stride: count / first }
                } else {
                    Self { count: count / last, length: *last, stride: 1 }
                }
            }
            _ => Self { count: 1, length: count, stride: 1 },
        }
    }

    /// Returns the line of a number.
    fn line(&self, place: usize) -> usize {
        if self.stride == 1 { place / self.length } else { place % self.stride }
    }

    fn start(&self, line: usize) -> usize {
        if self.stride == 1 { line * self.length } else { line }
    }

    pub(in super::super) fn take<T: Copy>(&self, numbers: &[T], line: usize) -> Vec<T> {
        numbers[self.start(line)..].iter().step_by(self.stride).take(self.length).copied().collect()
    }

    pub(in super::super) fn put<T: Copy>(&self, numbers: &mut [T], line: usize, values: &[T]) {
        let places = numbers[self.start(line)..].iter_mut().step_by(self.stride);
        places.zip(values).for_each(|(number, value)| *number = *value);
    }

    /// Returns how many numbers from this one on follow each other in one line.
    fn run(&self, place: usize) -> usize {
        if self.stride == 1 { self.length - place % self.length } else { 1 }
    }
}

impl Arc {
    fn of(work: &Work<'_>, cosine: f32, t: f64) -> Self {
        let round = |number: f32| rounded(work.dtype, number);
        let (rest, t) = ((1.0 - t) as f32, t as f32);
        if f64::from(round(1.0 - round(cosine * cosine))) <= 1e-16 {
            return Self { first: rest, second: t, divisor: None };
        }
        let angle = round(trig::acos(cosine));
        let sine = round(trig::sin(angle));
        let (first, second) = (round(trig::sin(round(rest * angle))), round(trig::sin(round(t * angle))));
        Self { first, second, divisor: Some(sine) }
    }
}

/// Makes lengths usable as divisors.
fn usable(work: &Work<'_>, length: f32) -> f32 {
    work.round(f64::from(length)).max(work.round(LEAST_LENGTH))
}

/// Makes products of the directions of two pieces, in the first one.
fn products(work: &Work<'_>, a: &mut [f32], b: &mut [f32], lengths: [f32; 2]) {
    array::map(work.dtype, a, |number| number / lengths[0]);
    array::map(work.dtype, b, |number| number / lengths[1]);
    with(work.dtype, a, b, |a, b| a * b);
}

/// Reads a piece of both vectors.
fn read(work: &Work<'_>, parts: [usize; 2], from: usize, a: &mut [f32], b: &mut [f32], spare: &mut [f32]) {
    work.difference(&work.parts[parts[0]], from, a, spare);
    work.difference(&work.parts[parts[1]], from, b, spare);
}

fn short_lines(work: &Work<'_>, parts: [usize; 2], lines: &Lines) -> Vec<f32> {
    let length = lines.length;
    let cosine = |scratch: &mut Vec<f32>, line: usize| {
        let [a, b, spare] = split(scratch, [length; 3]);
        read(work, parts, line * length, a, b, spare);
        let lengths = [&*a, &*b].map(|v| usable(work, torch::norm(v, work.paired())));
        products(work, a, b, lengths);
        array::passed(work, line * length, length);
        work.round(f64::from(torch::sum_of(a, work.paired()))).clamp(-1.0, 1.0)
    };
    (0..lines.count).into_par_iter().map_init(Vec::new, cosine).collect()
}

fn long_line(work: &Work<'_>, parts: [usize; 2], lines: &Lines, line: usize) -> f32 {
    let start = line * lines.length;
    let lengths = torch::norms(lines.length, work.paired(), |from, [a, b]: &mut [Vec<f32>; 2]| {
        let size = a.len();
        read(work, parts, start + from, a, b, &mut vec![0.0; size]);
        array::passed(work, start + from, size);
    });
    let lengths = lengths.map(|length| usable(work, length));
    let sum = torch::sum(lines.length, work.paired(), &|from, a: &mut [f32]| {
        let (mut b, mut spare) = (vec![0.0; a.len()], vec![0.0; a.len()]);
        read(work, parts, start + from, a, &mut b, &mut spare);
        products(work, a, &mut b, lengths);
        array::passed(work, start + from, a.len());
    });
    work.round(f64::from(sum)).clamp(-1.0, 1.0)
}

/// Numbers along the first axis: a thread looks at some columns of all rows.
fn columns(work: &Work<'_>, parts: [usize; 2], lines: &Lines) -> Vec<f32> {
    let groups = (0..lines.count.div_ceil(COLUMNS)).into_par_iter().map(|group| {
        let first = group * COLUMNS;
        let size = COLUMNS.min(lines.count - first);
        let mut scratch = Vec::new();
        let [a, b, spare] = split(&mut scratch, [size; 3]);
        let mut squares = [vec![0.0_f32; size], vec![0.0_f32; size]];
        for row in 0..lines.length {
            read(work, parts, row * lines.stride + first, a, b, spare);
            for (squares, numbers) in squares.iter_mut().zip([&*a, &*b]) {
                squares.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number * number);
            }
        }
        let lengths = squares.map(|squares| squares.iter().map(|sum| usable(work, sum.sqrt())).collect::<Vec<f32>>());
        let mut sums = torch::Columns::new(size, lines.length);
        for row in 0..lines.length {
            read(work, parts, row * lines.stride + first, a, b, spare);
            with(work.dtype, a, &lengths[0], |number, length| number / length);
            with(work.dtype, b, &lengths[1], |number, length| number / length);
            with(work.dtype, a, b, |a, b| a * b);
            sums.row(a);
        }
        sums.end().into_iter().map(|sum| work.round(f64::from(sum)).clamp(-1.0, 1.0)).collect::<Vec<f32>>()
    });
    let cosines = groups.flatten().collect();
    array::passed(work, 0, work.count());
    cosines
}

impl Each for Arcs {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let [b, spare] = split(scratch, [size; 2]);
        read(work, self.parts, from, out, b, spare);
        let mut at = 0;
        while at < size {
            // Columns are as many arcs as there are numbers in a row; lines are one for all their numbers.
            let run = self.lines.run(from + at).min(size - at);
            let Arc { first, second, divisor } = self.of_lines[self.lines.line(from + at)];
            let (a, b) = (&mut out[at..at + run], &mut b[at..at + run]);
            if run == 1 {
                let round = |number: f32| rounded(work.dtype, number);
                let sum = round(round(first * a[0]) + round(second * b[0]));
                a[0] = divisor.map_or(sum, |divisor| round(sum / divisor));
            } else {
                array::map(work.dtype, a, |number| first * number);
                array::map(work.dtype, b, |number| second * number);
                with(work.dtype, a, b, |a, b| a + b);
                if let Some(divisor) = divisor {
                    array::map(work.dtype, a, |number| number / divisor);
                }
            }
            at += run;
        }
        array::plus_base(work, from, out, spare);
    }
}
