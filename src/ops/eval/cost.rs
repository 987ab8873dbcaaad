//! What a token costs where a model stops early, among the scores: so a report draws it beside what it buys.

use std::path::Path;

use super::{OpError, Score};
use crate::model::Config;

/// Returns the operations for a token, and their share of those of the whole model.
pub(super) fn scores(dir: &Path, exit: Option<usize>) -> Result<Vec<Score>, OpError> {
    let failed = |error| OpError::caused("cannot use the model", error);
    let whole = Config::load(dir).map_err(failed)?;
    let config = whole.at_exit(exit).map_err(failed)?;
    let (flops, all) = (config.flops_per_token(), whole.flops_per_token());
    let score = |metric: &str, value: f64, unit: &str| Score {
        name: "compute".to_owned(),
        kind: "compute".to_owned(),
        metric: metric.to_owned(),
        value,
        n: 1,
        unit: unit.to_owned(),
        higher_is_better: false,
        ..Score::default()
    };
    let share = score("share", flops / all, "share of the whole model's operations a token");
    Ok(vec![share, score("flops_per_token", flops, "floating-point operations a token, attention to others apart")])
}
