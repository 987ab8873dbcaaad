//! Searched parameters: axes whose values are found one after the other. Which values are possible, and which come first.
//!
//! A value is always a point of the grid that `low` and `precision` make, written with as few decimals as these have, so
//! that it reads well in the name of a node and is the same value again in the next run.

use serde_json::{Number, Value};

use super::diagnostic::Diagnostic;
use super::overrides::Overrides;
use super::params::{Kind, Search, SearchMethod};
use super::pipeline::{Axis, NodeSpec, Pipeline};
use super::substitute::{Found, Names, substitute};

/// How far along its range golden section divides: 2 minus the golden ratio.
pub const GOLDEN: f64 = 0.381_966_011_250_105_1;

/// The values that a search may try.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    low: f64,
    precision: f64,
    places: usize,
    /// The index of the greatest value.
    pub last: i64,
}

impl Grid {
    /// Returns the grid of a search.
    pub fn of(search: &Search) -> Self {
        let places = |number: f64| number.to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len());
        // A step that would land on the end must not miss it by a rounding error.
        let last = ((search.high - search.low) / search.precision * (1.0 + 1e-12)).floor();
        Self {
            low: search.low,
            precision: search.precision,
            places: places(search.low).max(places(search.precision)),
            last: last.clamp(0.0, 9e15) as i64,
        }
    }

    /// Returns the value at an index.
    pub fn at(&self, index: i64) -> f64 {
        let value = self.low + index as f64 * self.precision;
        format!("{value:.*}", self.places.min(300)).parse().unwrap_or(value)
    }

    /// Returns the index nearest to a value.
    pub fn index(&self, value: f64) -> i64 {
        (((value - self.low) / self.precision).round()).clamp(0.0, self.last as f64) as i64
    }

    /// Returns the index nearest to a part of the whole range.
    fn part(&self, part: f64) -> i64 {
        (self.last as f64 * part).round() as i64
    }
}

/// Returns the values that a search begins with.
pub fn initial(search: &Search) -> Vec<f64> {
    let grid = Grid::of(search);
    let parts: &[f64] = match search.method {
        SearchMethod::Golden => &[GOLDEN, 1.0 - GOLDEN],
        SearchMethod::Bayesian if search.trials < 6 => &[0.0, 0.5, 1.0],
        SearchMethod::Bayesian => &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0],
    };
    let mut indices: Vec<i64> = parts.iter().map(|part| grid.part(*part)).collect();
    indices.dedup();
    indices.into_iter().map(|index| grid.at(index)).collect()
}

/// Returns a value as a parameter: a whole number where all values of the search are whole.
pub fn value(search: &Search, number: f64) -> Value {
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
    if whole(search.low) && whole(search.precision) && whole(number) {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Makes the parameter of every search an axis, unless the command line fixes it.
pub(super) fn begin(pipeline: &mut Pipeline, overrides: &Overrides, diagnostics: &mut Vec<Diagnostic>) {
    let nodes: Vec<NodeSpec> = pipeline.nodes.iter().filter(|node| node.kind == Kind::Select).cloned().collect();
    for node in nodes {
        let Some(mut search) = read(pipeline, &node) else { continue };
        let place = pipeline.field_span(&node, "search.parameter");
        let name = node.whole_name(&search.parameter);
        if overrides.fixes(&name) {
            continue;
        }
        if let Some((other, _)) = pipeline.searches.iter().find(|(_, other)| other.parameter == name) {
            let message = format!("`{other}` searches the parameter `{}` already", search.parameter);
            diagnostics.push(Diagnostic::new(place, message));
            continue;
        }
        if pipeline.axis(&name).is_some() {
            let message = format!("the parameter `{}` is swept, so it cannot be searched", search.parameter);
            let help = "take it out of `sweep:`; `--sweep` can still give it fixed values";
            diagnostics.push(Diagnostic::new(place, message).help(help));
            continue;
        }
        search.parameter.clone_from(&name);
        let begun = || initial(&search).into_iter().map(|number| value(&search, number)).collect();
        let values = overrides.trials.get(&name).filter(|values| !values.is_empty()).cloned().unwrap_or_else(begun);
        pipeline.params.remove(&name);
        pipeline.given.remove(&name);
        pipeline.axes.push(Axis { name, values, place });
        pipeline.searches.push((node.name.clone(), search));
    }
}

/// Reads the search of a node; nothing where there is none, or where the node's own check will say what is wrong.
fn read(pipeline: &Pipeline, node: &NodeSpec) -> Option<Search> {
    let field = node.fields.get("search")?;
    let names = Names {
        bindings: &pipeline.params,
        prefix: &node.prefix,
        given: &pipeline.given,
        environment: &pipeline.environment,
        is_node: None,
    };
    let search: Search = serde_json::from_value(substitute(field, &names, &mut Found::default())).ok()?;
    let sound = search.low.is_finite() && search.high.is_finite() && search.low < search.high;
    let steps = search.precision.is_finite() && search.precision > 0.0;
    (sound && steps && (search.high - search.low) / search.precision >= 2.0 && search.trials >= 3).then_some(search)
}
