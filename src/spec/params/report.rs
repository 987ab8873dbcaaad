//! `kind: report`: tables and curves over everything gathered.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Gathers scores over every axis and draws them: a terminal table, JSON and one self-contained HTML page.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportParams {
    /// The score tables, in the order of the rows; a swept one gives a row for every value.
    #[serde(skip_serializing)]
    pub over: Vec<InputRef>,
    /// The trainings whose loss curves are drawn: `[base.log, french.log]`.
    #[serde(default, skip_serializing)]
    pub curves: Vec<InputRef>,
    /// Further columns, each the mean of tasks that have one unit: `{french: [clams-fr, ifeval-fr.prompt_strict]}`. Shares of
    /// different things count as one unit; a task alone stands for the first of its metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub averages: BTreeMap<String, Vec<String>>,
    /// The heading of the page.
    #[serde(default)]
    pub title: Option<String>,
}

impl ReportParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "report";
}

impl Params for ReportParams {
    const KIND: Kind = Kind::Report;
    const VERSION: u32 = 3;

    fn inputs(&self) -> Vec<Input<'_>> {
        let over = self.over.iter().enumerate();
        let curves = self.curves.iter().enumerate();
        over.map(|(i, from)| Input::all(format!("over[{i}]"), from, InputType::Scores))
            .chain(curves.map(|(i, from)| Input::all(format!("curves[{i}]"), from, InputType::Log)))
            .collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Report }]
    }

    fn check(&self) -> Vec<Mistake> {
        let nothing = self.over.is_empty().then(|| Mistake::new("over", "there is nothing to report on"));
        let empty = self.averages.iter().filter(|(_, tasks)| tasks.is_empty());
        let empty = empty.map(|(name, _)| Mistake::new(format!("averages.{name}"), "there is nothing to average"));
        nothing.into_iter().chain(empty).collect()
    }
}
