//! A model's file, read forwards and never beyond its length. Whatever takes memory by a number in the file asks [`Source::room`]
//! first whether so much is left of it.

use std::io::{BufRead, Read};

/// Numbers are taken out of the file in pieces of so many bytes.
const PIECE: usize = 1 << 16;

pub(super) struct Source<R> {
    input: R,
    at: u64,
    length: u64,
    part: &'static str,
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(input: R, length: u64) -> Self {
        Self { input, at: 0, length, part: "the header" }
    }

    /// Says which part of the file comes next, for errors.
    pub(super) fn part(&mut self, part: &'static str) {
        self.part = part;
    }

    /// Returns how many things these are, if so many of that many bytes can still come.
    pub(super) fn room(&self, count: i64, bytes: u64) -> Result<usize, String> {
        let left = self.length.saturating_sub(self.at);
        let needed = u64::try_from(count).ok().and_then(|count| count.checked_mul(bytes));
        match usize::try_from(count) {
            Ok(count) if needed.is_some_and(|needed| needed <= left) => Ok(count),
            _ => Err(self.wrong(&format!("{count} things of {bytes} bytes should follow, and {left} bytes do"))),
        }
    }

    /// An error at this place.
    pub(super) fn wrong(&self, what: &str) -> String {
        format!("not a whole model of fastText: in {}, at byte {}, {what}; fetch the file again", self.part, self.at)
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.room(bytes.len() as i64, 1)?;
        self.input.read_exact(bytes).map_err(|error| self.wrong(&error.to_string()))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, String> {
        Ok(self.array::<1>()? != [0])
    }

    pub(super) fn i8(&mut self) -> Result<i8, String> {
        self.array().map(i8::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, String> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads bytes up to a zero, which is left out.
    pub(super) fn word(&mut self, into: &mut Vec<u8>) -> Result<(), String> {
        let left = self.length.saturating_sub(self.at);
        let read = (&mut self.input).take(left).read_until(0, into).map_err(|error| self.wrong(&error.to_string()))?;
        self.at += read as u64;
        if read == 0 || into.pop() != Some(0) {
            return Err(self.wrong("a word has no end"));
        }
        Ok(())
    }

    pub(super) fn bytes(&mut self, count: i64) -> Result<Vec<u8>, String> {
        let count = self.room(count, 1)?;
        let mut bytes = self.memory(count)?;
        bytes.resize(count, 0);
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn floats(&mut self, count: i64) -> Result<Vec<f32>, String> {
        let count = self.room(count, 4)?;
        let mut floats = self.memory(count)?;
        let mut piece = vec![0; PIECE.min(4 * count)];
        while floats.len() < count {
            let bytes = (4 * (count - floats.len())).min(PIECE);
            self.fill(&mut piece[..bytes])?;
            floats.extend(piece[..bytes].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(floats)
    }

    /// Memory for so many, or an error: a file full of holes may be longer than all memory.
    fn memory<T>(&self, count: usize) -> Result<Vec<T>, String> {
        let mut out = Vec::new();
        out.try_reserve_exact(count).map_err(|error| format!("{} do not fit into memory: {error}", self.part))?;
        Ok(out)
    }
}
