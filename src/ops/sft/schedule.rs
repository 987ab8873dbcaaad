//! The learning rate of each step, as in transformers' `get_scheduler`.
//!
//! It rises along a line from zero during the warm-up, whose length is rounded up, and then moves as the schedule says,
//! so the first step of a run with warm-up has the rate zero, there as here.

use crate::spec::params::{Schedule, SftParams};

/// Returns the learning rate of step `step` of `steps`, counted from zero.
pub(super) fn learning_rate(params: &SftParams, step: usize, steps: usize) -> f64 {
    let warmup = (steps as f64 * params.warmup_ratio).ceil() as usize;
    if step < warmup {
        return params.learning_rate * step as f64 / warmup as f64;
    }
    let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
    params.learning_rate
        * match params.lr_scheduler {
            Schedule::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * done).cos()),
            Schedule::Linear => 1.0 - done,
            Schedule::Constant => 1.0,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rates(schedule: &str) -> Vec<f64> {
        let fields =
            json!({"model": "m", "data": ["d"], "learning_rate": 1.0, "warmup_ratio": 0.25, "lr_scheduler": schedule});
        let params: SftParams = serde_json::from_value(fields).unwrap();
        (0..8).map(|step| learning_rate(&params, step, 8)).collect()
    }

    #[test]
    fn rates_rise_and_then_follow_the_schedule() {
        assert_eq!(rates("constant"), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let linear = [0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0, 0.5, 2.0 / 6.0, 1.0 / 6.0];
        assert!(rates("linear").iter().zip(linear).all(|(a, b)| (a - b).abs() < 1e-12));
        let cosine = rates("cosine");
        assert!((cosine[2] - 1.0).abs() < 1e-12 && (cosine[5] - 0.5).abs() < 1e-12);
        assert!(cosine[7] > 0.0 && cosine[7] < 0.1);
    }
}
