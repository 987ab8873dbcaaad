//! Tables of plain text, and scores in them.

use console::{measure_text_width, style};

use crate::cli::commands::data::clean;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::metrics::scores::Score;

/// Prints lines of cells below a line of names. Names are left, but for the columns that hold numbers.
pub(super) fn print(names: &[&str], numbers: &[usize], lines: &[Vec<String>]) -> Result<(), CliError> {
    let of = |line: &[String], at: usize| line.get(at).map_or(0, |cell| measure_text_width(cell));
    let width = |at: usize| {
        lines.iter().map(|line| of(line, at)).chain([measure_text_width(names[at])]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let join = |cells: Vec<&str>| {
        let pad = |(at, cell): (usize, &str)| {
            let space = " ".repeat(widths[at] - measure_text_width(cell));
            if numbers.contains(&at) { format!("{space}{cell}") } else { format!("{cell}{space}") }
        };
        cells.into_iter().enumerate().map(pad).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    output::data(&style(join(names.to_vec())).dim().to_string())?;
    lines.iter().try_for_each(|line| output::data(&join(line.iter().map(String::as_str).collect())))
}

/// A perplexity of words may have more digits than anybody reads.
fn number(value: f64) -> String {
    if value.abs() < 1e7 { format!("{value:.4}") } else { format!("{value:.3e}") }
}

/// Prints scores: each task once, its scores below one another. `groups` has a column for the group.
pub(super) fn scores(scores: &[Score], groups: bool) -> Result<(), CliError> {
    let runs = scores.iter().any(|score| score.std.is_some());
    let mut names = vec!["task", "metric", "", "value", "error", "n"];
    if runs {
        names.push("over runs");
    }
    if groups {
        names.insert(1, "group");
    }
    let shift = usize::from(groups);
    let numbers: Vec<usize> = [3, 4, 5, 6].iter().map(|at| at + shift).collect();
    let mut above: Option<(&str, Option<&str>)> = None;
    let mut lines = Vec::new();
    for score in scores {
        let is = (score.name.as_str(), score.group.as_deref());
        let said = |same: bool, text: &str| if same { String::new() } else { clean(text) };
        let mut line = vec![said(above.is_some_and(|above| above.0 == is.0), is.0)];
        if groups {
            line.push(said(above == Some(is), is.1.unwrap_or_default()));
        }
        line.push(clean(&score.metric));
        line.push(if score.higher_is_better { "↑" } else { "↓" }.to_owned());
        line.push(number(score.value));
        line.push(score.stderr.map_or_else(String::new, |stderr| format!("± {}", number(stderr))));
        line.push(score.n.to_string());
        if runs {
            line.push(score.std.map_or_else(String::new, |std| format!("± {}", number(std))));
        }
        above = Some(is);
        lines.push(line);
    }
    print(&names, &numbers, &lines)
}
