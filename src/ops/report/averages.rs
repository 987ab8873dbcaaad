//! Columns that are means of others: "French" of all French tasks, as the tables of papers have them.
//!
//! Every task counts the same, however many samples it has. The error is that of a mean of independent scores.

use std::collections::BTreeMap;

use super::table::{Cell, Row, Task};
use crate::ops::OpError;

/// Adds a column for each average, in the order of their names.
pub(super) fn add(
    averages: &BTreeMap<String, Vec<String>>,
    tasks: &mut Vec<Task>,
    rows: &mut [Row],
) -> Result<(), OpError> {
    let scored = tasks.len();
    for (name, of) in averages {
        if tasks.iter().any(|task| task.name == *name) {
            return Err(OpError::new(format!("`averages.{name}`: there is a column `{name}` already")));
        }
        let columns = of.iter().map(|task| place(name, task, &tasks[..scored])).collect::<Result<Vec<_>, _>>()?;
        let first = &tasks[columns[0]];
        if let Some(other) = columns.iter().map(|column| &tasks[*column]).find(|other| !alike(first, other)) {
            let [one, two] =
                [first, other].map(|task| format!("`{}` in {} ({})", task.name, task.unit, task.direction()));
            return Err(OpError::new(format!("`averages.{name}`: {one} and {two} have no mean")));
        }
        let all_alike = columns.iter().all(|column| tasks[*column].unit == first.unit);
        let column = Task {
            name: name.clone(),
            title: name.clone(),
            metric: format!("mean of {}", of.join(", ")),
            unit: if all_alike { first.unit.clone() } else { "share".to_owned() },
            ..first.clone()
        };
        tasks.push(column);
        for row in &mut *rows {
            let cells: Option<Vec<&Cell>> = columns.iter().map(|column| row.scores[*column].as_ref()).collect();
            let mean = cells.map(|cells| mean(&cells));
            row.scores.push(mean);
        }
    }
    Ok(())
}

/// Says whether two columns have a mean: their units are the same, or shares of this and that.
fn alike(one: &Task, other: &Task) -> bool {
    let share = |task: &Task| task.unit.starts_with("share of ");
    one.higher_is_better == other.higher_is_better && (one.unit == other.unit || share(one) && share(other))
}

/// Returns the column of `task`, the first of its metrics, or of `task.metric`.
fn place(average: &str, wanted: &str, tasks: &[Task]) -> Result<usize, OpError> {
    let whole = |task: &Task| format!("{}.{}", task.name, task.metric);
    let by_task = tasks.iter().position(|task| task.name == wanted);
    by_task.or_else(|| tasks.iter().position(|task| whole(task) == wanted)).ok_or_else(|| {
        let known: Vec<String> = tasks.iter().map(whole).collect();
        OpError::new(format!("`averages.{average}`: no model has a score `{wanted}`; there are {}", known.join(", ")))
    })
}

fn mean(cells: &[&Cell]) -> Cell {
    let count = cells.len() as f64;
    let errors: Option<Vec<f64>> = cells.iter().map(|cell| cell.stderr).collect();
    Cell {
        value: cells.iter().map(|cell| cell.value).sum::<f64>() / count,
        stderr: errors.map(|errors| errors.iter().map(|error| error * error).sum::<f64>().sqrt() / count),
        n: cells.iter().map(|cell| cell.n).sum(),
        best: false,
    }
}
