//! `dedup_substring`: passages that stand in the data more than once.
//!
//! All texts together are one string, and its suffix array (libsais) puts equal beginnings side by side. A window of
//! `min_bytes` that stood earlier in the data is a repetition; repetitions that overlap are one passage. Only later
//! occurrences are repetitions, so that one of each passage stays (Lee et al. 2022, "Deduplicating training data makes
//! language models better"). Takes six bytes of memory and a quarter for a byte of text.

use libsais::SuffixArrayConstruction;

use crate::data::{Chat, Row};
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why};
use crate::ops::curate::item::Item;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::spec::params::{DedupSubstring, PassageAction};

/// What stands between texts: no byte of UTF-8.
const BETWEEN: u8 = 0xff;
/// The most bytes of text that a suffix array of 32-bit numbers holds.
const MOST: usize = i32::MAX as usize - 1;

pub(super) struct DropPassages {
    settings: DedupSubstring,
    spool: Option<Spool>,
    /// All texts, each with [`BETWEEN`] behind it.
    text: Vec<u8>,
    reading: Option<Reading>,
    found: (u64, u64),
}

/// The second time that rows pass.
struct Reading {
    rows: SpoolReader,
    /// For every byte of text whether it lies in a repetition, as bits.
    repeated: Vec<u64>,
    at: usize,
}

impl DropPassages {
    pub(super) fn new(settings: &DedupSubstring, spool: Spool) -> Self {
        Self { settings: settings.clone(), spool: Some(spool), text: Vec::new(), reading: None, found: (0, 0) }
    }

    fn judged(&mut self, mut item: Item, reading: &mut Reading) -> Verdict {
        let DedupSubstring { min_bytes, action, .. } = self.settings;
        let mut passages = Vec::new();
        for text in texts(item.row()) {
            passages.push(spans(&reading.repeated, reading.at, &text));
            reading.at += text.len() + 1;
        }
        let bytes: usize = passages.iter().flatten().map(|(from, to)| to - from).sum();
        if bytes == 0 {
            return Verdict::Keep(item);
        }
        self.found.0 += passages.iter().map(Vec::len).sum::<usize>() as u64;
        self.found.1 += bytes as u64;
        match action {
            PassageAction::Drop => Verdict::Drop(
                item,
                Why::from(format!("{bytes} bytes of it stood earlier, in passages of {min_bytes} and more")),
            ),
            PassageAction::Remove => {
                without(item.row_mut(), &passages);
                if item.row().chars() == 0 {
                    return Verdict::Drop(item, "nothing is left of it".into());
                }
                Verdict::Change(item)
            }
        }
    }
}

impl Step for DropPassages {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        for text in items.iter().flat_map(|item| texts(item.row())) {
            self.text.extend_from_slice(text.as_bytes());
            self.text.push(BETWEEN);
        }
        if self.text.len() > MOST {
            let message = format!("`dedup_substring` searches at most {MOST} bytes of text at once");
            return Err(OpError::new(message).help("curate the data in parts, or drop near-duplicates first"));
        }
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            let repeated = repetitions(&std::mem::take(&mut self.text), self.settings.min_bytes)?;
            self.reading = Some(Reading { rows: spool.read()?, repeated, at: 0 });
        }
        let Some(mut reading) = self.reading.take() else { return Ok(None) };
        let items = reading.rows.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let judged = items.into_iter().map(|item| self.judged(item, &mut reading)).collect();
        self.reading = Some(reading);
        Ok(Some(judged))
    }

    fn figures(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({"passages": self.found.0, "bytes": self.found.1}))
    }
}

/// Returns for every byte whether it lies in a window of `length` bytes that stood earlier.
fn repetitions(text: &[u8], length: usize) -> Result<Vec<u64>, OpError> {
    let mut repeated = vec![0u64; text.len().div_ceil(64)];
    if text.len() <= length {
        return Ok(repeated);
    }
    let failed = |error| OpError::new(format!("the suffix array could not be made: {error}"));
    let sorted: Vec<i32> =
        SuffixArrayConstruction::for_text(text).in_owned_buffer32().single_threaded().run().map_err(failed)?.into_vec();
    // Where the window that begins at a byte ends, if it holds no end of a text.
    let mut ends = vec![false; text.len()];
    let mut next = text.len();
    for at in (0..text.len()).rev() {
        if text[at] == BETWEEN {
            next = at;
        }
        ends[at] = next - at >= length;
    }
    let window = |at: i32| &text[at as usize..at as usize + length];
    let mut starts = vec![0u64; text.len().div_ceil(64)];
    let mut group = 0;
    while group < sorted.len() {
        if !ends[sorted[group] as usize] {
            group += 1;
            continue;
        }
        let mut end = group + 1;
        while end < sorted.len() && ends[sorted[end] as usize] && window(sorted[end]) == window(sorted[group]) {
            end += 1;
        }
        let first = sorted[group..end].iter().min().copied().unwrap_or_default();
        for at in sorted[group..end].iter().filter(|at| **at != first) {
            starts[*at as usize / 64] |= 1 << (*at as usize % 64);
        }
        group = end;
    }
    let mut until = 0;
    for at in 0..text.len() {
        if starts[at / 64] >> (at % 64) & 1 == 1 {
            until = at + length;
        }
        if at < until {
            repeated[at / 64] |= 1 << (at % 64);
        }
    }
    Ok(repeated)
}

/// Returns the repetitions of a text that begins at `begin`, cut inwards to whole characters.
fn spans(repeated: &[u64], begin: usize, text: &str) -> Vec<(usize, usize)> {
    let lies = |at: usize| repeated[(begin + at) / 64] >> ((begin + at) % 64) & 1 == 1;
    let mut spans = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if !lies(at) {
            at += 1;
            continue;
        }
        let mut from = at;
        while at < text.len() && lies(at) {
            at += 1;
        }
        let mut to = at;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        while !text.is_char_boundary(to) {
            to -= 1;
        }
        if from < to {
            spans.push((from, to));
        }
    }
    spans
}

/// Returns the texts of a row one by one, in the order in which [`without`] changes them.
fn texts(row: &Row) -> Vec<String> {
    let said =
        |chat: &Chat| chat.messages.iter().map(|message| message.content.text().into_owned()).collect::<Vec<_>>();
    match row {
        Row::Text(text) => vec![text.clone()],
        Row::Chat(chat) => said(chat),
        // Answers are alike by nature.
        Row::Preference(_) | Row::Pair { .. } => Vec::new(),
    }
}

/// Cuts passages out of the texts of a row.
fn without(row: &mut Row, passages: &[Vec<(usize, usize)>]) {
    let cut = |text: &str, spans: &[(usize, usize)]| {
        let (mut rest, mut from) = (String::new(), 0);
        for &(begin, end) in spans {
            rest.push_str(&text[from..begin]);
            from = end;
        }
        rest + &text[from..]
    };
    match row {
        Row::Text(text) => *text = cut(text, &passages[0]),
        Row::Chat(chat) => {
            for (message, spans) in chat.messages.iter_mut().zip(passages).filter(|(_, spans)| !spans.is_empty()) {
                message.content = crate::data::Content::Text(cut(&message.content.text(), spans));
            }
        }
        Row::Preference(_) | Row::Pair { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by looking at every window.
    fn naive(text: &[u8], length: usize) -> Vec<bool> {
        let mut repeated = vec![false; text.len()];
        for at in 0..text.len().saturating_sub(length - 1) {
            let window = &text[at..at + length];
            if !window.contains(&BETWEEN) && text[..at + length - 1].windows(length).any(|earlier| earlier == window) {
                repeated[at..at + length].fill(true);
            }
        }
        repeated
    }

    proptest! {
        #[test]
        fn repetitions_are_what_stood_earlier(text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c'), Just(BETWEEN)], 0..120), length in 1usize..6) {
            let bits = repetitions(&text, length).unwrap();
            let found: Vec<bool> = (0..text.len()).map(|at| bits[at / 64] >> (at % 64) & 1 == 1).collect();
            prop_assert_eq!(found, naive(&text, length));
        }
    }

    #[test]
    fn passages_are_cut_at_whole_characters() {
        let text = "éé mer";
        let mut bits = vec![0u64; 1];
        for at in 1..5 {
            bits[0] |= 1 << at;
        }
        assert_eq!(spans(&bits, 0, text), [(2, 5)]);
        let mut row = Row::Text(text.into());
        without(&mut row, &[vec![(2, 5)]]);
        assert_eq!(row, Row::Text("émer".into()));
    }
}
