//! `kind: report`: everything that was gathered, as a table for the terminal, as JSON, and as one page.
//!
//! All three are drawn from one [`table::Table`], so they cannot disagree. Their bytes are fixed by the inputs: numbers
//! have a fixed count of decimals, nothing is dated, and the page asks for nothing from outside. Labels and task names
//! are foreign text and are escaped wherever they are drawn.

mod averages;
mod chart;
mod curves;
mod page;
mod scale;
mod sweep;
mod table;
mod text;

use serde::Serialize;

use super::{OpCx, OpError, Outcome};
use crate::spec::params::ReportParams;
use curves::Curve;
use table::Table;

/// The version of `report.json`.
const VERSION: u32 = 1;

/// What `report.json` holds.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    title: &'a str,
    #[serde(flatten)]
    table: &'a Table,
    curves: &'a [Curve],
}

/// Runs the node.
pub(super) fn run(params: &ReportParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let title = params.title.as_deref().unwrap_or("Scores");
    let table = Table::gather(cx.inputs.list("over"), &params.averages)?;
    let curves = cx.inputs.list("curves").map(Curve::read).collect::<Result<Vec<_>, _>>()?;
    fs_err::write(cx.out.join("report.txt"), text::render(title, &table))?;
    let report = Report { version: VERSION, title, table: &table, curves: &curves };
    let mut json =
        serde_json::to_string_pretty(&report).map_err(|error| OpError::caused("cannot write report.json", error))?;
    json.push('\n');
    fs_err::write(cx.out.join("report.json"), json)?;
    fs_err::write(cx.out.join("report.html"), page::render(title, &table, &curves)?)?;
    let mut outcome = Outcome::default();
    outcome.metrics.insert("models".into(), table.rows.len() as f64);
    outcome.metrics.insert("tasks".into(), table.tasks.len() as f64);
    Ok(outcome)
}
