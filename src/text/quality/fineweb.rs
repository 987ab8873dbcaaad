//! FineWeb's rules on lines: few end as sentences do, many are short, many were there before, or there are as many lines as words.

use super::repetition::repeated;
use super::symbols::is_terminal;
use super::{Document, Finding, share};
use crate::text::python;

/// Thresholds; `None` switches a rule off.
#[derive(Clone, Debug, PartialEq)]
pub struct FineWeb {
    /// Least share of lines that end as a sentence does.
    pub min_line_punct: Option<f64>,
    /// Whether a text without any such line passes.
    pub line_punct_exclude_zero: bool,
    /// Characters that end a sentence beside those of datatrove, which has neither `»` nor quotation marks.
    pub stop_chars: String,
    /// Largest share of short lines.
    pub max_short_lines: Option<f64>,
    /// A line of so many characters, or fewer, is short.
    pub short_line_length: usize,
    /// Largest share of characters in lines that were there before.
    pub max_char_dup: Option<f64>,
    /// Most line feeds for each word.
    pub max_new_lines: Option<f64>,
}

impl FineWeb {
    pub(super) fn judge(&self, document: &Document) -> Option<Finding> {
        let text = document.text;
        let lines: Vec<_> = text.split('\n').filter(|line| !python::strip(line).is_empty()).collect();
        if lines.is_empty() {
            return Some(Finding::empty());
        }
        self.endings(&lines).or_else(|| self.short(&lines)).or_else(|| self.again(text, &lines)).or_else(|| {
            let most = self.max_new_lines?;
            let words = document.words().len();
            let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).count();
            if words == 0 {
                return Some(Finding::empty());
            }
            let value = breaks as f64 / words as f64;
            (value > most).then(|| Finding::new("list_ratio", value, most))
        })
    }

    fn endings(&self, lines: &[&str]) -> Option<Finding> {
        let least = self.min_line_punct?;
        let ends =
            |line: &&&str| line.chars().next_back().is_some_and(|c| is_terminal(c) || self.stop_chars.contains(c));
        let value = share(lines.iter().filter(ends).count(), lines.len());
        let excused = value == 0.0 && self.line_punct_exclude_zero;
        (value < least && !excused).then(|| Finding::new("line_punct_ratio", value, least))
    }

    fn short(&self, lines: &[&str]) -> Option<Finding> {
        let most = self.max_short_lines?;
        let value = share(lines.iter().filter(|line| python::len(line) <= self.short_line_length).count(), lines.len());
        (value > most).then(|| Finding::new("short_line_ratio", value, most))
    }

    fn again(&self, text: &str, lines: &[&str]) -> Option<Finding> {
        let most = self.max_char_dup?;
        let (_, characters) = repeated(lines);
        let all = python::len(text) - memchr::memchr_iter(b'\n', text.as_bytes()).count();
        let value = share(characters, all);
        (value > most).then(|| Finding::new("char_dup_ratio", value, most))
    }
}
