//! `report.html`: what the steps did, for people. It says what `stats.json` says.

use serde::Serialize;

use super::stats::{Counts, Source, Stats};
use crate::ops::{OpError, page};

const TEMPLATE: &str = include_str!("page.html.j2");

#[derive(Serialize)]
struct Page {
    summary: String,
    /// Whether tokens were counted.
    tokens: bool,
    /// What is to be said about chats of which only the words could be counted.
    refused: Option<String>,
    steps: Vec<StepShown>,
    sources: Vec<SourceShown>,
    outputs: Vec<OutputShown>,
}

#[derive(Serialize)]
struct StepShown {
    number: usize,
    step: String,
    rows_in: String,
    rows_out: String,
    rows_changed: String,
    rows_flagged: String,
    chars_out: String,
    /// Tokens in, out and changed.
    tokens: Vec<String>,
    width: String,
    rules: Vec<RuleShown>,
    dropped: Vec<DroppedShown>,
    figures: Option<String>,
}

#[derive(Serialize)]
struct RuleShown {
    name: String,
    rows: String,
    width: String,
}

#[derive(Serialize)]
struct DroppedShown {
    source: String,
    row: u64,
    reason: String,
    text: String,
}

#[derive(Serialize)]
struct SourceShown {
    name: String,
    rows_in: String,
    rows_out: String,
    chars_out: String,
    /// Tokens in and out.
    tokens: Vec<String>,
    kept: String,
    after: Vec<String>,
}

#[derive(Serialize)]
struct OutputShown {
    name: &'static str,
    rows: String,
    chars: String,
    tokens: Option<String>,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    from: String,
    label: String,
    rows: String,
    height: String,
}

/// Returns the page.
pub(super) fn render(stats: &Stats) -> Result<String, OpError> {
    let share = percent(stats.rows_out, stats.rows_in);
    let page = Page {
        summary: format!("{} rows in, {} rows out ({share} %)", grouped(stats.rows_in), grouped(stats.rows_out)),
        tokens: stats.sources.iter().any(|source| source.tokens.is_some()),
        refused: refused(stats),
        steps: (1..).zip(&stats.steps).map(|(number, step)| step_shown(number, step, stats)).collect(),
        sources: stats.sources.iter().enumerate().map(|(i, source)| source_shown(i, source, stats)).collect(),
        outputs: stats
            .outputs
            .iter()
            .map(|(name, written)| OutputShown {
                name,
                rows: grouped(written.rows),
                chars: grouped(written.chars),
                tokens: written.tokens.map(grouped),
                bars: bars(&written.lengths),
            })
            .collect(),
    };
    page::render(TEMPLATE, &page)
}

/// Says at which steps, or without steps how many, chats were counted by their words alone.
fn refused(stats: &Stats) -> Option<String> {
    let rows = |step: &Counts| step.tokens.map_or(0, |tokens| tokens.rows_refused);
    let steps = (1..).zip(&stats.steps).filter(|(_, step)| rows(step) > 0);
    let mut steps: Vec<String> =
        steps.map(|(number, step)| format!("{} after step {number} ({})", grouped(rows(step)), step.step)).collect();
    if stats.steps.is_empty() {
        let refused: u64 = stats.sources.iter().filter_map(|source| source.tokens).map(|t| t.rows_refused).sum();
        steps.extend((refused > 0).then(|| grouped(refused)));
    }
    let said = || {
        format!("Chats that the tokenizer's template refuses are counted by their words alone: {}.", steps.join(", "))
    };
    (!steps.is_empty()).then(said)
}

fn step_shown(number: usize, step: &Counts, stats: &Stats) -> StepShown {
    let against = step.rules().values().max().copied().unwrap_or(1);
    let rule = |(name, rows): (&String, &u64)| RuleShown {
        name: name.clone(),
        rows: grouped(*rows),
        width: percent(*rows, against),
    };
    let source = |at: u32| stats.sources.get(at as usize).map_or_else(String::new, |source| source.name.clone());
    StepShown {
        number,
        step: step.step.to_string(),
        rows_in: grouped(step.rows_in),
        rows_out: grouped(step.rows_out),
        rows_changed: grouped(step.rows_changed),
        rows_flagged: grouped(step.rows_flagged),
        chars_out: grouped(step.chars_out),
        tokens: step
            .tokens
            .map(|t| [t.tokens_in, t.tokens_out, t.tokens_changed].map(grouped).to_vec())
            .unwrap_or_default(),
        width: percent(step.rows_out, stats.rows_in.max(step.rows_in)),
        rules: step.rules().iter().map(rule).collect(),
        dropped: step
            .dropped
            .iter()
            .map(|row| DroppedShown {
                source: source(row.source),
                row: row.row,
                reason: row.reason.clone(),
                text: row.text.clone(),
            })
            .collect(),
        figures: step.figures.as_ref().and_then(|figures| serde_json::to_string_pretty(figures).ok()),
    }
}

fn source_shown(at: usize, source: &Source, stats: &Stats) -> SourceShown {
    SourceShown {
        name: source.name.clone(),
        rows_in: grouped(source.rows_in),
        rows_out: grouped(source.rows_out),
        chars_out: grouped(source.chars_out),
        tokens: source.tokens.map(|t| [t.tokens_in, t.tokens_out].map(grouped).to_vec()).unwrap_or_default(),
        kept: percent(source.rows_out, source.rows_in),
        after: stats.steps.iter().map(|step| grouped(step.rows_by_source[at])).collect(),
    }
}

fn bars(lengths: &[u64]) -> Vec<Bar> {
    let most = lengths.iter().max().copied().unwrap_or(1);
    let first = lengths.iter().position(|&rows| rows > 0).unwrap_or(0);
    let bar = |(octave, &rows): (usize, &u64)| {
        let from = if octave == 0 { 0 } else { 1u64 << octave };
        Bar { from: grouped(from), label: short(from), rows: grouped(rows), height: percent(rows, most) }
    };
    lengths.iter().enumerate().skip(first).map(bar).collect()
}

/// Returns a share in percent, with one digit behind the point.
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Returns a power of two as `512`, `4k`, `2M`.
fn short(number: u64) -> String {
    match number {
        0..1024 => number.to_string(),
        1024..0x10_0000 => format!("{}k", number >> 10),
        _ => format!("{}M", number >> 20),
    }
}

/// Returns a number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
