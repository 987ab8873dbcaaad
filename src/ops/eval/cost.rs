//! What a token costs, and where a model stops early also among the scores: so a report draws it beside what it buys.

use std::path::Path;

use super::{OpError, Score};
use crate::model::Config;
use crate::spec::params::{COST, COST_SCORES};

/// Returns the operations for a token of the model as it is asked.
pub(super) fn of_token(dir: &Path, exit: Option<usize>) -> Result<f64, OpError> {
    let config = Config::load(dir).and_then(|config| config.at_exit(exit));
    Ok(config.map_err(|error| OpError::caused("cannot use the model", error))?.flops_per_token())
}

/// Returns the operations for a token, and their share of those of the whole model.
pub(super) fn scores(dir: &Path, exit: Option<usize>) -> Result<Vec<Score>, OpError> {
    let failed = |error| OpError::caused("cannot use the model", error);
    let whole = Config::load(dir).map_err(failed)?;
    let config = whole.at_exit(exit).map_err(failed)?;
    let (flops, all) = (config.flops_per_token(), whole.flops_per_token());
    let score = |metric: &str, value: f64, unit: &str| Score {
        name: COST.to_owned(),
        kind: COST.to_owned(),
        metric: metric.to_owned(),
        value,
        n: 1,
        unit: unit.to_owned(),
        higher_is_better: false,
        ..Score::default()
    };
    let [share, operations] = COST_SCORES;
    let share = score(share, flops / all, "share of the whole model's operations a token");
    Ok(vec![share, score(operations, flops, "floating-point operations a token, attention to others apart")])
}
