//! Scores along a swept parameter: one chart a task, and one that lays all tasks over each other.
//!
//! The overlay answers what a sweep of merges is made for: what is gained on one task against what is lost on another.
//! It measures each task on the models outside the sweep, the parents: 0 % is the worst of them and 100 % the best. A
//! task on which the parents differ by less than twice the error of that difference is left out, since dividing by such
//! a gap draws noise.
//!
//! Colour and mark are the task in all charts, the dash is the series, where there are several.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::chart::{Chart, Line, Look, Point, Reference, swatch};
use super::scale::Scale;
use super::table::{Cell, Row, Table, Task};

/// The models along one numeric axis.
pub(super) struct Sweep<'a> {
    table: &'a Table,
    /// The name of the axis.
    axis: &'a str,
    series: Vec<Series<'a>>,
    /// The models outside the sweep.
    outside: Vec<&'a Row>,
}

/// The models that differ in nothing but the place on the axis.
struct Series<'a> {
    name: String,
    models: Vec<(f64, &'a Row)>,
}

/// A chart with all that belongs to it.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) heading: String,
    pub(super) note: String,
    pub(super) svg: String,
    pub(super) legend: Vec<LegendEntry>,
    /// The numbers that are drawn: a head and rows; empty if the page shows them elsewhere.
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// How something looks in a chart.
#[derive(Serialize)]
pub(super) struct LegendEntry {
    pub(super) swatch: String,
    pub(super) text: String,
}

impl<'a> Sweep<'a> {
    /// Returns the sweep along the numeric axis with the most values, if there is one with two or more.
    pub(super) fn of(table: &'a Table) -> Option<Self> {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in table.rows.iter().flat_map(|row| &row.axes) {
            values.entry(name).or_default().extend(value.as_f64());
        }
        let distinct = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.dedup_by(|left, right| left.total_cmp(right).is_eq());
            values.len()
        };
        let counted = values.iter_mut().map(|(name, values)| (distinct(values), *name));
        let (_, axis) = counted.filter(|(count, _)| *count > 1).max_by_key(|(count, _)| *count)?;
        let place = |row: &Row| row.axes.get(axis).and_then(Value::as_f64);
        let beside: Vec<&str> = values.keys().copied().filter(|other| moves_with(table, axis, other)).collect();
        let mut series: Vec<Series<'a>> = Vec::new();
        for (row, x) in table.rows.iter().filter_map(|row| Some((row, place(row)?))) {
            let name = series_name(row, &beside);
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.models.push((x, row)),
                None => series.push(Series { name, models: vec![(x, row)] }),
            }
        }
        for series in &mut series {
            series.models.sort_by(|left, right| left.0.total_cmp(&right.0));
        }
        let outside = table.rows.iter().filter(|row| row.axes.is_empty()).collect();
        Some(Self { table, axis, series, outside })
    }

    /// Returns one chart for each task.
    pub(super) fn by_task(&self) -> Vec<Figure> {
        (0..self.table.tasks.len()).filter_map(|task| self.task(task)).collect()
    }

    fn task(&self, index: usize) -> Option<Figure> {
        let task = &self.table.tasks[index];
        let point = |x: f64, row: &Row, cell: &Cell| Point {
            x,
            y: cell.value,
            error: cell.stderr,
            title: format!("{}: {}", row.title(), task.value_and_error(cell)),
            chosen: !row.chosen_by.is_empty(),
        };
        let lines = self.lines(index, |x, row, cell| Some(point(x, row, cell)));
        let references: Vec<Reference> = self
            .outside
            .iter()
            .filter_map(|row| row.scores[index].as_ref().map(|cell| (row, cell)))
            .map(|(row, cell)| Reference {
                y: cell.value,
                name: row.label.clone(),
                title: format!("{}: {}", row.label, task.value_and_error(cell)),
            })
            .collect();
        let spread = |point: &Point| {
            let error = point.error.unwrap_or(0.0);
            [point.y - error, point.y + error]
        };
        let numbers = lines.iter().flat_map(|line| line.points.iter().flat_map(spread));
        let chart = Chart {
            title: &format!("{} ({}, {}) over {}", task.title, task.unit, task.direction(), self.axis),
            width: 460.0,
            height: 300.0,
            right: 92.0,
            x: self.x_scale(6)?,
            x_name: self.axis,
            y: Scale::rounded(numbers.chain(references.iter().map(|reference| reference.y)), 5)?,
            y_suffix: "",
            lines,
            references,
        };
        Some(Figure {
            heading: task.title.clone(),
            note: format!("{}, {}", task.unit, task.direction()),
            svg: chart.svg(),
            legend: if self.series.len() > 1 { self.series_legend(index) } else { Vec::new() },
            head: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Returns the chart of all tasks, each measured on the gap between the models outside the sweep.
    pub(super) fn overlay(&self) -> Option<Figure> {
        let gaps: Vec<Option<Gap>> = (0..self.table.tasks.len()).map(|task| self.gap(task)).collect();
        let drawn: Vec<(usize, &Gap)> =
            gaps.iter().enumerate().filter_map(|(task, gap)| Some((task, gap.as_ref()?))).collect();
        let mut lines = Vec::new();
        for (task, gap) in &drawn {
            lines.extend(self.lines(*task, |x, row, cell| {
                let y = gap.percent(cell.value);
                let name = &self.table.tasks[*task].title;
                Some(Point {
                    x,
                    y,
                    error: None,
                    title: format!("{}, {name}: {y:.0} %", row.title()),
                    chosen: !row.chosen_by.is_empty(),
                })
            }));
        }
        let numbers = lines.iter().flat_map(|line| line.points.iter().map(|point| point.y)).chain([0.0, 100.0]);
        let chart = Chart {
            title: &format!("What each model keeps of the best parent, all tasks over {}", self.axis),
            width: 960.0,
            height: 340.0,
            right: 24.0,
            x: self.x_scale(10)?,
            x_name: self.axis,
            y: Scale::rounded(numbers, 7)?,
            y_suffix: " %",
            lines,
            references: Vec::new(),
        };
        if drawn.is_empty() {
            return None;
        }
        let (head, rows) = self.overlay_numbers(&drawn);
        let mut legend: Vec<LegendEntry> = Vec::new();
        for (task, _) in &drawn {
            legend.extend(self.series_legend(*task));
        }
        Some(Figure {
            heading: "What is gained against what is lost".to_owned(),
            note: self.overlay_note(&gaps),
            svg: chart.svg(),
            legend,
            head,
            rows,
        })
    }

    fn overlay_note(&self, gaps: &[Option<Gap>]) -> String {
        let names: Vec<&str> = self.outside.iter().map(|row| row.label.as_str()).collect();
        let mut note = format!(
            "For each task, 100 % is the best and 0 % the worst of the models outside the sweep ({}).",
            names.join(", ")
        );
        let omitted = gaps.iter().zip(&self.table.tasks).filter(|(gap, _)| gap.is_none());
        let omitted: Vec<&str> = omitted.map(|(_, task)| task.title.as_str()).collect();
        if !omitted.is_empty() {
            note.push_str(" Not drawn, because these models do not clearly differ on it: ");
            note.push_str(&omitted.join(", "));
            note.push('.');
        }
        note
    }

    fn overlay_numbers(&self, drawn: &[(usize, &Gap)]) -> (Vec<String>, Vec<Vec<String>>) {
        let names = drawn.iter().map(|(task, _)| self.table.tasks[*task].title.clone());
        let head = std::iter::once("model".to_owned()).chain(names).collect();
        let models = self.series.iter().flat_map(|series| series.models.iter().map(|(_, row)| *row));
        let percent = |row: &Row, task: usize, gap: &Gap| {
            row.scores[task].as_ref().map_or("–".to_owned(), |cell| format!("{:.0} %", gap.percent(cell.value) + 0.0))
        };
        let line = |row: &Row| {
            let cells = drawn.iter().map(|(task, gap)| percent(row, *task, gap));
            std::iter::once(row.label.clone()).chain(cells).collect()
        };
        (head, models.map(line).collect())
    }

    /// Returns the span of the models outside the sweep on a task, if it is more than noise.
    fn gap(&self, index: usize) -> Option<Gap> {
        let task: &Task = &self.table.tasks[index];
        let cells = || self.outside.iter().filter_map(|row| row.scores[index].as_ref());
        let least = cells().min_by(|left, right| left.value.total_cmp(&right.value))?;
        let most = cells().max_by(|left, right| left.value.total_cmp(&right.value))?;
        let noise = least.stderr.unwrap_or(0.0).hypot(most.stderr.unwrap_or(0.0));
        if most.value - least.value <= 2.0 * noise {
            return None;
        }
        let (worst, best) = if task.higher_is_better { (least, most) } else { (most, least) };
        Some(Gap { worst: worst.value, best: best.value })
    }

    /// Returns a line for each series; `point` makes a point of a model's score.
    fn lines(&self, task: usize, point: impl Fn(f64, &Row, &Cell) -> Option<Point>) -> Vec<Line> {
        let line = |(place, series): (usize, &Series<'_>)| Line {
            look: Look::Marked { task, series: place },
            points: series.models.iter().filter_map(|(x, row)| point(*x, row, row.scores[task].as_ref()?)).collect(),
        };
        self.series.iter().enumerate().map(line).collect()
    }

    fn series_legend(&self, task: usize) -> Vec<LegendEntry> {
        let name = &self.table.tasks[task].title;
        let entry = |(place, series): (usize, &Series<'_>)| LegendEntry {
            swatch: swatch(task, place),
            text: if self.series.len() > 1 { format!("{name}, {}", series.name) } else { name.clone() },
        };
        self.series.iter().enumerate().map(entry).collect()
    }

    fn x_scale(&self, ticks: usize) -> Option<Scale> {
        Scale::exact(self.series.iter().flat_map(|series| series.models.iter().map(|(x, _)| *x)), ticks)
    }
}

/// The worst and the best value of the models outside the sweep.
struct Gap {
    worst: f64,
    best: f64,
}

impl Gap {
    fn percent(&self, value: f64) -> f64 {
        (value - self.worst) / (self.best - self.worst) * 100.0
    }
}

/// Says whether a numeric axis goes along with `axis` (itself, or one zipped to it): each value of one stands with one of the
/// other. Then it tells no series from another.
fn moves_with(table: &Table, axis: &str, other: &str) -> bool {
    let both =
        table.rows.iter().filter_map(|row| Some([row.axes.get(axis)?.as_f64()?, row.axes.get(other)?.as_f64()?]));
    let pairs: Vec<[f64; 2]> = both.collect();
    let same = |left: f64, right: f64| left.total_cmp(&right).is_eq();
    pairs.iter().all(|[x, y]| pairs.iter().all(|[u, v]| same(*x, *u) == same(*y, *v))) && !pairs.is_empty()
}

/// Returns what a model is called without its place on the axes `beside`: `slerp`, `merged, method=slerp`.
fn series_name(row: &Row, beside: &[&str]) -> String {
    let stem = row.label.split('[').next().unwrap_or_default().trim().to_owned();
    let others = row.axes.iter().filter(|(name, _)| !beside.contains(&name.as_str()));
    let others = others.map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    });
    std::iter::once(stem).chain(others).collect::<Vec<_>>().join(", ")
}
