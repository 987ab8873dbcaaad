//! Rows of plain text: lines, paragraphs, whole files; and the minimal pairs that CLAMS writes in lines.

use std::path::Path;

use super::lines::Lines;
use super::{DataError, Format, Row, TextUnit};

/// The rows of a file of lines.
pub(super) struct TextRows {
    lines: Lines,
    format: Format,
    unit: TextUnit,
}

impl TextRows {
    /// Opens a file.
    pub(super) fn open(path: &Path, format: Format, unit: TextUnit) -> Result<Self, DataError> {
        Ok(Self { lines: Lines::open(path)?, format, unit })
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        let lines = self.format == Format::Text && self.unit == TextUnit::Line;
        for skipped in 0..count {
            let more = if lines { self.lines.next_filled()?.is_some() } else { self.next_row()?.is_some() };
            if !more {
                return Ok(skipped);
            }
        }
        Ok(count)
    }

    /// Returns the next row.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        match (self.format, self.unit) {
            (Format::Clams, _) => self.next_pair(),
            (_, TextUnit::Line | TextUnit::Page) => Ok(self.lines.next_filled()?.map(Row::Text)),
            (_, TextUnit::Paragraph) => self.next_paragraph(),
            (_, TextUnit::File) => self.whole_file(),
        }
    }

    /// Returns the file and the line that was read last.
    pub(super) fn place(&self) -> (&str, u64) {
        self.lines.place()
    }

    /// Returns the error that the line read last holds no row.
    pub(super) fn bad_row(&self, reason: impl Into<String>) -> DataError {
        self.lines.bad_row(reason)
    }

    fn next_pair(&mut self) -> Result<Option<Row>, DataError> {
        let Some(line) = self.lines.next_filled()? else { return Ok(None) };
        let Some(good) = line.strip_prefix("True\t") else {
            return Err(self.lines.bad_row("expected `True`, a tab and the correct sentence"));
        };
        let next = self.lines.next_filled()?;
        let Some(bad) = next.as_deref().and_then(|line| line.strip_prefix("False\t")) else {
            return Err(self.lines.bad_row("expected `False`, a tab and the wrong sentence after the correct one"));
        };
        Ok(Some(Row::Pair { good: good.trim().into(), bad: bad.trim().into() }))
    }

    fn next_paragraph(&mut self) -> Result<Option<Row>, DataError> {
        let Some(mut paragraph) = self.lines.next_filled()? else { return Ok(None) };
        while let Some(line) = self.lines.next_line()? {
            if line.trim().is_empty() {
                break;
            }
            self.lines.join(&mut paragraph, &line)?;
        }
        Ok(Some(Row::Text(paragraph)))
    }

    fn whole_file(&mut self) -> Result<Option<Row>, DataError> {
        let Some(mut text) = self.lines.next_filled()? else { return Ok(None) };
        while let Some(line) = self.lines.next_line()? {
            self.lines.join(&mut text, &line)?;
        }
        Ok(Some(Row::Text(text.trim_end().into())))
    }
}
