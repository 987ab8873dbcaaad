//! The scores of all models, row by row, with the best of each column found.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::averages;
use crate::ops::eval::{Score, Scores};
use crate::ops::{InputArtifact, OpError};

/// All models and all tasks.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) tasks: Vec<Task>,
    pub(super) rows: Vec<Row>,
}

/// A column: one metric of one task.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) higher_is_better: bool,
    /// What stands above the column: the task, and the metric where the task has several.
    #[serde(skip)]
    pub(super) title: String,
    /// Decimals that all of its values are shown with.
    #[serde(skip)]
    pub(super) decimals: usize,
}

/// A model.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) label: String,
    /// Its point in the sweep; empty for a model outside of it.
    pub(super) axes: BTreeMap<String, Value>,
    /// The `select` nodes that chose it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) chosen_by: Vec<String>,
    /// One for each task, in the order of the tasks; none where it was not scored.
    pub(super) scores: Vec<Option<Cell>>,
}

/// A score.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) value: f64,
    pub(super) stderr: Option<f64>,
    pub(super) n: usize,
    /// Whether no other model has a better one. Never with a single model.
    pub(super) best: bool,
}

impl Table {
    /// Reads the scores of each input, one row each, in order. A task is a column from its first appearance on; behind them come
    /// `averages`.
    pub(super) fn gather<'a>(
        inputs: impl Iterator<Item = &'a InputArtifact>,
        averages: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, OpError> {
        let mut tasks: Vec<Task> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let (choices, tables): (Vec<_>, Vec<_>) = inputs.partition(|input| input.chosen);
        for input in &tables {
            let scores = Scores::read(&input.path)
                .map_err(|error| OpError::caused(format!("cannot read the scores of `{}`", input.name), error))?;
            let mut cells = vec![None; tasks.len()];
            for score in scores.tasks {
                let place = tasks.iter().position(|task| task.name == score.name && task.metric == score.metric);
                let place = place.unwrap_or(tasks.len());
                if place == tasks.len() {
                    tasks.push(Task::of(&score));
                    cells.push(None);
                }
                cells[place] = Some(Cell { value: score.value, stderr: score.stderr, n: score.n, best: false });
            }
            rows.push(Row {
                label: input.label.clone(),
                axes: input.axes.clone(),
                chosen_by: Vec::new(),
                scores: cells,
            });
        }
        for (row, input) in rows.iter_mut().zip(&tables) {
            row.scores.resize(tasks.len(), None);
            // The same model may be an instance of two nodes: of a sweep and of a search.
            let same = |choice: &InputArtifact| choice.digest.is_some() && choice.digest == input.digest;
            let of_it = |choice: &&&InputArtifact| choice.label == row.label || same(choice);
            row.chosen_by = choices.iter().filter(of_it).map(|choice| choice.name.clone()).collect();
        }
        averages::add(averages, &mut tasks, &mut rows)?;
        let mut table = Self { tasks, rows };
        for task in 0..table.tasks.len() {
            let (name, metric) = (&table.tasks[task].name, &table.tasks[task].metric);
            if table.tasks.iter().filter(|other| other.name == *name).count() > 1 {
                table.tasks[task].title = format!("{name} {metric}");
            }
            table.finish(task);
        }
        Ok(table)
    }

    /// Marks the best of a column, and decides its decimals.
    fn finish(&mut self, task: usize) {
        let cells = || self.rows.iter().filter_map(|row| row.scores[task].as_ref());
        let decimals = cells().filter_map(|cell| cell.stderr).map(decimals).max().unwrap_or(4);
        let higher = self.tasks[task].higher_is_better;
        let better = |left: &f64, right: &f64| if higher { left.total_cmp(right) } else { right.total_cmp(left) };
        let best = cells().map(|cell| cell.value).max_by(better);
        let alone = cells().count() < 2;
        self.tasks[task].decimals = decimals;
        for cell in self.rows.iter_mut().filter_map(|row| row.scores[task].as_mut()) {
            cell.best = !alone && best.is_some_and(|best| best.total_cmp(&cell.value).is_eq());
        }
    }
}

impl Row {
    /// Returns the name of the model, and which `select` nodes chose it.
    pub(super) fn title(&self) -> String {
        if self.chosen_by.is_empty() {
            self.label.clone()
        } else {
            format!("{} ← {}", self.label, self.chosen_by.join(", "))
        }
    }
}

/// Returns how many decimals show two digits of a standard error.
fn decimals(stderr: f64) -> usize {
    if stderr > 0.0 { (1.0 - stderr.log10().floor()).clamp(2.0, 4.0) as usize } else { 4 }
}

impl Task {
    fn of(score: &Score) -> Self {
        Self {
            name: score.name.clone(),
            metric: score.metric.clone(),
            unit: score.unit.clone(),
            higher_is_better: score.higher_is_better,
            title: score.name.clone(),
            decimals: 4,
        }
    }

    /// Returns which way is better, in words.
    pub(super) fn direction(&self) -> &'static str {
        if self.higher_is_better { "higher is better" } else { "lower is better" }
    }

    /// Returns `1.234`.
    pub(super) fn value(&self, cell: &Cell) -> String {
        format!("{:.*}", self.decimals, cell.value)
    }

    /// Returns `0.012`, nothing where there is none.
    pub(super) fn stderr(&self, cell: &Cell) -> Option<String> {
        cell.stderr.map(|stderr| format!("{stderr:.*}", self.decimals))
    }

    /// Returns `1.234 ± 0.012`.
    pub(super) fn value_and_error(&self, cell: &Cell) -> String {
        let stderr = self.stderr(cell).map(|stderr| format!(" ± {stderr}"));
        format!("{}{}", self.value(cell), stderr.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_show_two_digits_of_the_error() {
        assert_eq!([0.5, 0.12, 0.012, 0.0012, 1e-9, 0.0].map(decimals), [2, 2, 3, 4, 4, 4]);
    }
}
