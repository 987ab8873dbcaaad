//! `README.md`: the card of the data set, as hubs read it. It says where the rows lie, where they came from, and what was
//! done to them. Settings stand in the pipeline and its lockfile: with them in here, equal rows would be other artifacts.

use std::fmt::Write;

use super::page::grouped;
use super::stats::Stats;
use crate::spec::params::{CurateOutput, OutputFormat};

/// Returns the card.
pub(super) fn render(output: CurateOutput, stats: &Stats) -> String {
    let mut card = String::from("---\nconfigs:\n- config_name: default\n  data_files:\n");
    for name in stats.outputs.keys() {
        let split = if *name == "rows" { "train" } else { name };
        let _ = writeln!(card, "  - split: {split}\n    path: {name}/*{}", ending(output));
    }
    card.push_str("tags:\n- luthflow\n---\n\n# A curated data set\n\n");
    let _ = writeln!(
        card,
        "{} rows of {}, chosen and cleaned by luthflow. What each step did stands in\n\
         `stats.json` and, for reading, in `report.html`.\n",
        grouped(stats.rows_out),
        grouped(stats.rows_in)
    );
    let counted = stats.sources.iter().any(|source| source.tokens.is_some());
    let (names, bars) = if counted { (" tokens in | tokens out |", "---:|---:|") } else { ("", "") };
    let _ = writeln!(card, "| source | rows in | rows out | characters out |{names}\n|---|---:|---:|---:|{bars}");
    for source in &stats.sources {
        let counts = [source.rows_in, source.rows_out, source.chars_out].map(grouped);
        let tokens = in_and_out(source.tokens.map(|tokens| [tokens.tokens_in, tokens.tokens_out]));
        let _ = writeln!(card, "| {} | {} | {} | {} |{tokens}", source.name, counts[0], counts[1], counts[2]);
    }
    let _ = writeln!(card, "\n| step | rows in | rows out | changed |{names}\n|---|---:|---:|---:|{bars}");
    for step in &stats.steps {
        let counts = [step.rows_in, step.rows_out, step.rows_changed].map(grouped);
        let tokens = in_and_out(step.tokens.map(|tokens| [tokens.tokens_in, tokens.tokens_out]));
        let _ = writeln!(card, "| {} | {} | {} | {} |{tokens}", step.step, counts[0], counts[1], counts[2]);
    }
    card
}

/// Returns two cells of a table; nothing where nothing was counted.
fn in_and_out(tokens: Option<[u64; 2]>) -> String {
    tokens.map_or_else(String::new, |tokens| {
        let [before, after] = tokens.map(grouped);
        format!(" {before} | {after} |")
    })
}

fn ending(output: CurateOutput) -> &'static str {
    match output.format {
        OutputFormat::Jsonl => ".jsonl",
        OutputFormat::JsonlZst => ".jsonl.zst",
        OutputFormat::Parquet => ".parquet",
    }
}
