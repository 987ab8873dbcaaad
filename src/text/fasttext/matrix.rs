//! Vectors, one a row: whole, or as codes for pieces of them.
//!
//! A quantised row is a byte for each piece of a few numbers, and a byte for its length where lengths were taken out first. What
//! a byte stands for is read from the file: 256 centroids a piece.

use std::io::BufRead;

use super::source::Source;

/// What a byte can stand for.
const CENTROIDS: usize = 256;
/// Rows that are multiplied at once.
const TOGETHER: usize = 8;

pub(super) enum Matrix {
    Whole { rows: u64, dim: usize, values: Vec<f32> },
    Quantised { rows: u64, codes: Vec<u8>, pieces: Pieces, norms: Option<Norms> },
}

/// What the codes of rows stand for.
pub(super) struct Pieces {
    dim: usize,
    /// Numbers in a piece; the last one may be shorter.
    width: usize,
    /// How many there are.
    count: usize,
    centroids: Vec<f32>,
}

/// The lengths of rows.
pub(super) struct Norms {
    codes: Vec<u8>,
    values: Vec<f32>,
}

impl Matrix {
    pub(super) fn read<R: BufRead>(source: &mut Source<R>, quantised: bool, dim: usize) -> Result<Self, String> {
        let normed = quantised && source.flag()?;
        let (rows, columns) = (source.i64()?, source.i64()?);
        if usize::try_from(columns) != Ok(dim) || rows < 0 {
            return Err(
                source.wrong(&format!("{rows} rows of {columns} numbers are said to be there, of {dim} a vector"))
            );
        }
        if quantised {
            return Self::read_quantised(source, rows, dim, normed);
        }
        // Too many for 64 bits are too many for the file.
        let values = source.floats(rows.checked_mul(columns).unwrap_or(i64::MAX))?;
        Ok(Self::Whole { rows: rows.unsigned_abs(), dim, values })
    }

    fn read_quantised<R: BufRead>(source: &mut Source<R>, rows: i64, dim: usize, normed: bool) -> Result<Self, String> {
        let codes = source.i32()?;
        let codes = source.bytes(codes.into())?;
        let pieces = Pieces::read(source, dim)?;
        if rows.checked_mul(pieces.count as i64) != Some(codes.len() as i64) {
            let (count, codes) = (pieces.count, codes.len());
            return Err(source.wrong(&format!("{rows} rows of {count} codes are said to be {codes} codes")));
        }
        let norms = if normed {
            let codes = source.bytes(rows)?;
            Some(Norms { codes, values: Pieces::read(source, 1)?.centroids })
        } else {
            None
        };
        Ok(Self::Quantised { rows: rows.unsigned_abs(), codes, pieces, norms })
    }

    /// How many numbers a row has.
    pub(super) fn dim(&self) -> usize {
        match self {
            Self::Whole { dim, .. } => *dim,
            Self::Quantised { pieces, .. } => pieces.dim,
        }
    }

    /// Says what is wrong with a matrix of fewer rows than that.
    pub(super) fn check_rows(&self, least: u64) -> Result<(), String> {
        let (Self::Whole { rows, .. } | Self::Quantised { rows, .. }) = self;
        if *rows < least {
            let what = format!("a matrix has {rows} rows, and the dictionary asks for {least}");
            return Err(format!("not a whole model of fastText: {what}; fetch the file again"));
        }
        Ok(())
    }

    /// Adds a row to a vector.
    pub(super) fn add_row(&self, row: usize, to: &mut [f32]) {
        match self {
            Self::Whole { dim, values, .. } => {
                to.iter_mut().zip(&values[row * dim..][..*dim]).for_each(|(to, value)| *to += value);
            }
            Self::Quantised { codes, pieces, norms, .. } => {
                let norm = norm(norms.as_ref(), row);
                let codes = &codes[row * pieces.count..][..pieces.count];
                for (i, (code, to)) in codes.iter().zip(to.chunks_mut(pieces.width)).enumerate() {
                    let values = pieces.centroid(i, *code, to.len());
                    to.iter_mut().zip(values).for_each(|(to, value)| *to += norm * value);
                }
            }
        }
    }

    /// The products of the first rows with a vector. Each sum is added up in order, as in C++; several rows go along together, or
    /// each addition would wait for the one before.
    pub(super) fn dots(&self, rows: usize, with: &[f32]) -> Vec<f32> {
        let Self::Whole { dim, values, .. } = self else {
            return (0..rows).map(|row| self.dot(row, with)).collect();
        };
        let mut sums = vec![0.0; rows];
        for (sums, rows) in sums.chunks_mut(TOGETHER).zip(values.chunks(TOGETHER * dim)) {
            let mut lanes = [0.0; TOGETHER];
            let row = |lane: usize| rows.get(lane * dim..).and_then(|row| row.get(..*dim)).unwrap_or(with);
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(row);
            for (i, value) in with.iter().enumerate() {
                lanes.iter_mut().zip(rows).for_each(|(lane, row)| *lane += row[i] * value);
            }
            sums.copy_from_slice(&lanes[..sums.len()]);
        }
        sums
    }

    /// The product of a row with a vector.
    pub(super) fn dot(&self, row: usize, with: &[f32]) -> f32 {
        match self {
            Self::Whole { dim, values, .. } => dot(0.0, &values[row * dim..][..*dim], with),
            Self::Quantised { codes, pieces, norms, .. } => {
                let codes = &codes[row * pieces.count..][..pieces.count];
                let parts = codes.iter().zip(with.chunks(pieces.width)).enumerate();
                let sum =
                    parts.fold(0.0, |sum, (i, (code, with))| dot(sum, pieces.centroid(i, *code, with.len()), with));
                sum * norm(norms.as_ref(), row)
            }
        }
    }
}

fn dot(sum: f32, left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).fold(sum, |sum, (left, right)| sum + left * right)
}

fn norm(norms: Option<&Norms>, row: usize) -> f32 {
    norms.map_or(1.0, |norms| norms.values[usize::from(norms.codes[row])])
}

impl Pieces {
    fn read<R: BufRead>(source: &mut Source<R>, dim: usize) -> Result<Self, String> {
        let mut numbers = [0_usize; 4];
        for number in &mut numbers {
            *number = usize::try_from(source.i32()?).map_err(|_| source.wrong("a number below 0 is a size"))?;
        }
        let [columns, count, width, last] = numbers;
        let fits = width > 0 && count == dim.div_ceil(width) && last == dim - (count - 1) * width;
        if columns != dim || !fits {
            let said = format!("{columns} numbers are said to be {count} pieces of {width}, the last of {last}");
            return Err(source.wrong(&format!("{said}, of {dim} a vector")));
        }
        let centroids = source.floats(dim as i64 * CENTROIDS as i64)?;
        Ok(Self { dim, width, count, centroids })
    }

    /// What a code stands for in that piece, which has that many numbers.
    fn centroid(&self, piece: usize, code: u8, width: usize) -> &[f32] {
        &self.centroids[piece * CENTROIDS * self.width + usize::from(code) * width..][..width]
    }
}
