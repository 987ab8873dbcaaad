//! `published:` in a lockfile: the figures of a paper, cell by cell, that a run is to reproduce.
//!
//! Written by a person. The program reads it and never edits it; every rewrite of the lockfile carries it along.

use serde::{Deserialize, Serialize};

use super::{Lock, LockedNode};
use crate::spec::suggest;

/// A table that was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What it is called: `Table 2`.
    pub title: String,
    /// Where it was published: an address, or words.
    #[serde(default)]
    pub source: String,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// One figure of a published table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The node instance that gives the figure: `scores[t=0.5]`.
    pub node: String,
    /// The metric of it: `fr.bits_per_byte`.
    pub metric: String,
    /// The figure as it was published.
    #[serde(default)]
    pub value: Option<f64>,
    /// By how much a measured figure may differ from it.
    #[serde(default)]
    pub tolerance: Option<f64>,
    /// What the measured figure is multiplied by: 100 where percents were published.
    #[serde(default)]
    pub scale: Option<f64>,
    /// Anything a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// Whether the figure really stands in the source.
    #[serde(default)]
    pub status: CellStatus,
}

/// Whether a figure really stands in the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// It does.
    #[default]
    Published,
    /// It follows from figures that do, or was read off a chart.
    Inferred,
    /// It does not: there is nothing to compare with.
    NotPublished,
}

/// How a cell compares with what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellVerdict {
    /// The same figure.
    Reproduced,
    /// Another one, and no further away than the tolerance.
    WithinTolerance,
    /// Further away.
    Off,
    /// The node has not run.
    NotRun,
    /// There is nothing to compare with.
    NotPublished,
}

impl CellVerdict {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            CellVerdict::Reproduced => "reproduced",
            CellVerdict::WithinTolerance => "within tolerance",
            CellVerdict::Off => "off",
            CellVerdict::NotRun => "not run",
            CellVerdict::NotPublished => "not published",
        }
    }
}

impl Cell {
    /// Compares the cell with the measured figure; returns that figure as it would be published, too.
    pub fn compare(&self, measured: Option<f64>) -> (CellVerdict, Option<f64>) {
        let scaled = measured.map(|measured| measured * self.scale.unwrap_or(1.0));
        let Some(value) = self.value.filter(|_| self.status != CellStatus::NotPublished) else {
            return (CellVerdict::NotPublished, scaled);
        };
        let Some(found) = scaled else { return (CellVerdict::NotRun, None) };
        // Multiplying by a scale can cost the last bit or two.
        let rounding = 1e-12 * value.abs().max(found.abs());
        let verdict = match (found - value).abs() {
            same if same <= rounding => CellVerdict::Reproduced,
            near if near <= self.tolerance.unwrap_or(0.0) + rounding => CellVerdict::WithinTolerance,
            _ => CellVerdict::Off,
        };
        (verdict, Some(found))
    }
}

/// Returns what is wrong with the tables: nodes and metrics that do not exist. `nodes` are the instances of the pipeline.
pub fn mistakes(lock: &Lock, nodes: &[&str]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (cell, table) in lock.tables().iter().flat_map(|table| table.cells.iter().map(move |cell| (cell, &table.title)))
    {
        let with = |help: Option<String>| help.map_or_else(String::new, |help| format!("; {help}"));
        let known: Vec<&str> = nodes.iter().copied().chain(lock.nodes.keys().map(String::as_str)).collect();
        if !known.contains(&cell.node.as_str()) {
            let help = with(suggest::help(&cell.node, known));
            mistakes.push(format!("published `{table}`: there is no node `{}`{help}", cell.node));
        } else if let Some(LockedNode { metrics, .. }) = lock.node(&cell.node)
            && !metrics.contains_key(&cell.metric)
        {
            let help = with(suggest::help(&cell.metric, metrics.keys().map(String::as_str)));
            mistakes.push(format!("published `{table}`: `{}` has no metric `{}`{help}", cell.node, cell.metric));
        }
    }
    mistakes.dedup();
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_compared_as_it_was_published() {
        let cell = Cell {
            node: "scores".into(),
            metric: "x.acc".into(),
            value: Some(48.4),
            tolerance: Some(0.1),
            scale: Some(100.0),
            note: None,
            status: CellStatus::Published,
        };
        let verdict = |measured| cell.compare(measured).0;
        assert_eq!(verdict(Some(0.484)), CellVerdict::Reproduced);
        assert_eq!(verdict(Some(0.4845)), CellVerdict::WithinTolerance);
        assert_eq!(verdict(Some(0.4861)), CellVerdict::Off);
        assert_eq!(verdict(Some(f64::NAN)), CellVerdict::Off);
        assert_eq!(verdict(None), CellVerdict::NotRun);
        let unknown = Cell { value: None, ..cell.clone() };
        assert_eq!(unknown.compare(Some(0.4)).0, CellVerdict::NotPublished);
    }
}
