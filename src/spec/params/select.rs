//! `kind: select`: the best instance of a swept node, by a metric; and the search for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};
use crate::spec::expression::Expression;

/// Gathers the instances of a swept node and gives on the best one, which is then an artifact like any other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectParams {
    /// The node whose best instance is wanted.
    #[serde(skip_serializing)]
    pub from: InputRef,
    /// What decides, as an expression over metrics: `scores.fr.bits_per_byte`, `mean(a.fr.acc, a.en.acc) - 0.1 * b.x.loss`.
    pub by: Expression,
    /// Whether more is better.
    pub goal: Goal,
    /// Makes a parameter an axis whose values are tried one after the other, each where the best is to be expected.
    #[serde(default, skip_serializing)]
    pub search: Option<Search>,
}

/// Whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// More is better.
    Max,
    /// Less is better.
    Min,
}

/// A search over one continuous parameter. Every trial is cached like any other node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The parameter. Its value in `params` counts only where `--set` fixes it.
    pub parameter: String,
    /// The least value.
    pub low: f64,
    /// The greatest value.
    pub high: f64,
    /// The most values that are tried.
    #[serde(default = "default_trials")]
    pub trials: usize,
    /// Values are multiples of this, counted from `low`; the search ends when it knows the best one that well.
    #[serde(default = "default_precision")]
    pub precision: f64,
    /// How the next value is found.
    #[serde(default)]
    pub method: SearchMethod,
}

/// How the next value of a search is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMethod {
    /// Golden section: right for a metric with one optimum between the bounds (Kiefer 1953).
    #[default]
    Golden,
    /// Expected improvement under a Gaussian process: for metrics with noise or several optima (Mockus 1978; Jones et
    /// al. 1998).
    Bayesian,
}

fn default_trials() -> usize {
    12
}

fn default_precision() -> f64 {
    0.01
}

impl SelectParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "select";
}

impl Params for SelectParams {
    const KIND: Kind = Kind::Select;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let scores = self.by.nodes().iter().enumerate();
        let scores = scores.map(|(i, from)| Input::all(format!("by.{i}"), from, InputType::Any));
        std::iter::once(Input::all("from", &self.from, InputType::Any)).chain(scores).collect()
    }

    /// None of its own: it has those of the node that it selects from.
    fn outputs(&self) -> Vec<Output> {
        Vec::new()
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !self.from.output().is_empty() {
            let help =
                format!("write `from: {}`; `{}` is then an output of this node", self.from.node(), self.from.output());
            mistakes.push(Mistake::new("from", "what is selected is an instance of a node, not an output").help(help));
        }
        let Some(search) = &self.search else { return mistakes };
        if !(search.low.is_finite() && search.high.is_finite() && search.low < search.high) {
            mistakes.push(Mistake::new("search.low", "`low` must be less than `high`, and both finite"));
        }
        if !(search.precision.is_finite()
            && search.precision > 0.0
            && search.precision <= (search.high - search.low) / 2.0)
        {
            mistakes.push(Mistake::new("search.precision", "must be more than 0 and at most half the range"));
        }
        if !(3..=1000).contains(&search.trials) {
            mistakes.push(Mistake::new("search.trials", "must be from 3 to 1000"));
        }
        mistakes
    }
}
