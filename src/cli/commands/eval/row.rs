//! One row of an eval on the terminal, in 80 columns: prompt, choices or answers, what was taken out of them, and the verdict.

use console::style;
use serde_json::Value;

use super::wrap::wrap;
use crate::cli::commands::data::clean;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::metrics::samples::{Likely, Sampled, Written};
use crate::metrics::verdict::{Verdict, right_choices};

const WIDTH: usize = 78;
/// What stands in front of a choice: marks and two numbers.
const BEFORE_CHOICE: usize = 30;
/// How many lines of a prompt or an answer are shown in a list.
const LINES: usize = 12;

/// A row, and how it is shown.
pub(super) struct Shown<'a> {
    pub(super) task: &'a str,
    /// The run, counted from 1; of one run none.
    pub(super) run: Option<usize>,
    pub(super) verdict: Option<Verdict>,
    /// Whether long texts are shown to their end.
    pub(super) whole: bool,
    pub(super) row: &'a Sampled,
}

impl Shown<'_> {
    /// Prints the row.
    pub(super) fn print(&self) -> Result<(), CliError> {
        let row = self.row;
        let run = self.run.map_or_else(String::new, |run| format!(", run {run}"));
        let group = row.group.as_ref().map_or_else(String::new, |group| format!(", {}", clean(group)));
        let verdict = match self.verdict {
            Some(Verdict::Right) => format!(" {}", style("right").green().bold()),
            Some(verdict) => format!(" {}", style(verdict.word()).red().bold()),
            None => String::new(),
        };
        output::data(&format!(
            "{} row {}{run}{group}{verdict}",
            style(format!("── {}", self.task)).bold(),
            row.row + 1
        ))?;
        if !row.prompt.is_empty() {
            let cut = if row.truncated { ", the beginning was cut off" } else { "" };
            heading(&format!("prompt, {} tokens{cut}", row.prompt_tokens))?;
            self.text(&row.prompt, false)?;
        }
        if !row.choices.is_empty() {
            choices(row)?;
        }
        for (at, answer) in row.answers.iter().enumerate() {
            self.answer(answer, at)?;
        }
        if row.choices.is_empty() && !row.gold.is_null() {
            heading("reference")?;
            self.text(&plain(&row.gold), true)?;
        }
        self.scores()
    }

    fn answer(&self, answer: &Written, at: usize) -> Result<(), CliError> {
        for (turn, text) in answer.before.iter().enumerate() {
            heading(&format!("answer to question {}", turn + 1))?;
            self.text(text, true)?;
        }
        let which = if self.row.answers.len() > 1 { format!(" {}", at + 1) } else { String::new() };
        let end = if answer.finish_reason == "length" { "cut off at the limit" } else { "came to an end" };
        heading(&format!("answer{which}, {} tokens, {end}", answer.tokens))?;
        if answer.text.is_empty() {
            return output::data(&format!("  {}", style("(empty)").dim()));
        }
        self.text(&answer.text, true)
    }

    /// Prints a text. In a list, of a long one only the first lines, or the last ones.
    fn text(&self, text: &str, from_the_front: bool) -> Result<(), CliError> {
        let lines = wrap(&clean(text), WIDTH);
        let left_out = if self.whole { 0 } else { lines.len().saturating_sub(LINES) };
        let note = format!("  {}", style(format!("… {left_out} more lines: --row {}", self.row.row + 1)).dim());
        let shown = if from_the_front { &lines[..lines.len() - left_out] } else { &lines[left_out..] };
        if left_out > 0 && !from_the_front {
            output::data(&note)?;
        }
        shown.iter().try_for_each(|line| output::data(format!("  {line}").trim_end()))?;
        if left_out > 0 && from_the_front {
            output::data(&note)?;
        }
        Ok(())
    }

    fn scores(&self) -> Result<(), CliError> {
        let row = self.row;
        if row.values.is_empty() && row.extracted.is_empty() {
            return Ok(());
        }
        heading("verdict")?;
        for (name, value) in &row.values {
            let shown = value.as_f64().map_or_else(|| "no value".to_owned(), |value| format!("{value:.4}"));
            output::data(&format!("  {shown}  {}", clean(name)))?;
            if let Some(taken) = row.extracted.get(name) {
                extracted(taken)?;
            }
        }
        let others = row.extracted.iter().filter(|(name, _)| !row.values.contains_key(*name));
        others.into_iter().try_for_each(|(_, taken)| instructions(row, taken))
    }
}

fn heading(text: &str) -> Result<(), CliError> {
    output::data(&style(text).cyan().to_string())
}

/// Returns a reference as text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn choices(row: &Sampled) -> Result<(), CliError> {
    heading(match row.choices.len() {
        1 => "text: log-likelihood, that of a character",
        _ => "choices: log-likelihood, that of a character   (✓ right, > likeliest)",
    })?;
    let right = right_choices(row);
    let finite = |choice: &Likely| if choice.sum.is_finite() { choice.sum } else { f64::NEG_INFINITY };
    let most = row.choices.iter().map(finite).fold(f64::NEG_INFINITY, f64::max);
    let mut found = row.choices.len() < 2;
    for (at, choice) in row.choices.iter().enumerate() {
        let likeliest = !found && choice.sum.is_finite() && finite(choice) >= most;
        found |= likeliest;
        let (mark, best) = (if right.contains(&at) { "✓" } else { " " }, if likeliest { ">" } else { " " });
        let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "–".to_owned() };
        let each = number(choice.sum / choice.text.chars().count().max(1) as f64);
        let mut lines = wrap(&clean(&choice.text), WIDTH - BEFORE_CHOICE).into_iter();
        let first = lines.next().unwrap_or_default();
        output::data(&format!("  {mark} {best} {:>12} {each:>10}  {first}", number(choice.sum)))?;
        lines.try_for_each(|line| output::data(&format!("{}{line}", " ".repeat(BEFORE_CHOICE + 1))))?;
    }
    Ok(())
}

/// Prints what a judge took out of answer and reference.
fn extracted(taken: &Value) -> Result<(), CliError> {
    for (word, field) in [("extracted", "predicted"), ("compared with", "expected")] {
        let Some(value) = taken.get(field).filter(|value| !value.is_null()) else { continue };
        let mut lines = wrap(&clean(&plain(value)), WIDTH - 25).into_iter();
        let first = lines.next().unwrap_or_default();
        output::data(format!("          {:<14} {first}", style(word).dim()).trim_end())?;
        lines.try_for_each(|line| output::data(&format!("{}{line}", " ".repeat(25))))?;
    }
    Ok(())
}

/// Prints which instructions were followed, as IFEval judges them: strictly, and with some tolerance.
fn instructions(row: &Sampled, taken: &Value) -> Result<(), CliError> {
    let ids = row.columns.get("instruction_id_list").and_then(Value::as_array);
    let list = |field: &str| taken.get(field).and_then(Value::as_array);
    let (Some(ids), Some(strict), Some(loose)) = (ids, list("strict"), list("loose")) else { return extracted(taken) };
    let mark = |list: &[Value], at: usize| match list.get(at).and_then(Value::as_bool) {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "?",
    };
    for (at, id) in ids.iter().enumerate() {
        let (strict, loose) = (mark(strict, at), mark(loose, at));
        output::data(&format!("  {strict} strict  {loose} loose  {}", clean(&plain(id))))?;
    }
    Ok(())
}
