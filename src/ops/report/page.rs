//! The report as one HTML page.

use serde::Serialize;

use super::curves::Curve;
use super::sweep::{Figure, LegendEntry, Sweep};
use super::table::Table;
use crate::ops::{OpError, page};

const TEMPLATE: &str = include_str!("page.html.j2");

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    summary: String,
    columns: Vec<Column<'a>>,
    rows: Vec<Line<'a>>,
    any_best: bool,
    overlay: Option<Figure>,
    by_task: Vec<Figure>,
    losses: Vec<Figure>,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    unit: &'a str,
    direction: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    label: &'a str,
    chosen_by: &'a [String],
    cells: Vec<Option<Shown>>,
}

#[derive(Serialize)]
struct Shown {
    value: String,
    stderr: Option<String>,
    n: usize,
    best: bool,
}

/// Returns the page.
pub(super) fn render(title: &str, table: &Table, curves: &[Curve]) -> Result<String, OpError> {
    let sweep = Sweep::of(table);
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let page = Page {
        title,
        summary: format!("{}, {}", count(table.rows.len(), "model"), count(table.tasks.len(), "task")),
        columns: columns(table),
        rows: rows(table),
        any_best: table.rows.iter().flat_map(|row| row.scores.iter().flatten()).any(|cell| cell.best),
        overlay: sweep.as_ref().and_then(Sweep::overlay),
        by_task: sweep.as_ref().map_or_else(Vec::new, Sweep::by_task),
        losses: curves.iter().filter_map(loss).collect(),
    };
    page::render(TEMPLATE, &page)
}

fn columns(table: &Table) -> Vec<Column<'_>> {
    table.tasks.iter().map(|task| Column { name: &task.title, unit: &task.unit, direction: task.direction() }).collect()
}

fn rows(table: &Table) -> Vec<Line<'_>> {
    table
        .rows
        .iter()
        .map(|row| {
            let cells = row.scores.iter().zip(&table.tasks).map(|(cell, task)| {
                cell.as_ref().map(|cell| Shown {
                    value: task.value(cell),
                    stderr: task.stderr(cell),
                    n: cell.n,
                    best: cell.best,
                })
            });
            Line { label: &row.label, chosen_by: &row.chosen_by, cells: cells.collect() }
        })
        .collect()
}

fn loss(curve: &Curve) -> Option<Figure> {
    let (first, last) = curve.ends()?;
    Some(Figure {
        heading: curve.label.clone(),
        note: format!(
            "{} steps; mean loss {first:.3} over the first tenth, {last:.3} over the last. \
             Pale: every step. Bold: running mean over {} steps.",
            curve.points.len(),
            curve.window()
        ),
        svg: curve.svg()?,
        legend: Vec::<LegendEntry>::new(),
        head: Vec::new(),
        rows: Vec::new(),
    })
}
