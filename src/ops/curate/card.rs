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
    card.push_str("| source | rows in | rows out | characters out |\n|---|---:|---:|---:|\n");
    for source in &stats.sources {
        let counts = [source.rows_in, source.rows_out, source.chars_out].map(grouped);
        let _ = writeln!(card, "| {} | {} | {} | {} |", source.name, counts[0], counts[1], counts[2]);
    }
    let counted = stats.steps.iter().any(|step| step.tokens.is_some());
    let (names, bars) = if counted { (" tokens in | tokens out |", "---:|---:|") } else { ("", "") };
    let _ = writeln!(card, "\n| step | rows in | rows out | changed |{names}\n|---|---:|---:|---:|{bars}");
    for step in &stats.steps {
        let counts = [step.rows_in, step.rows_out, step.rows_changed].map(grouped);
        let tokens = step.tokens.map(|tokens| [tokens.tokens_in, tokens.tokens_out].map(grouped));
        let tokens = tokens.map_or_else(String::new, |[before, after]| format!(" {before} | {after} |"));
        let _ = writeln!(card, "| {} | {} | {} | {} |{tokens}", step.step, counts[0], counts[1], counts[2]);
    }
    card
}

fn ending(output: CurateOutput) -> &'static str {
    match output.format {
        OutputFormat::Jsonl => ".jsonl",
        OutputFormat::JsonlZst => ".jsonl.zst",
        OutputFormat::Parquet => ".parquet",
    }
}
