//! The learning rate of each step: it rises along a line during the warm-up and then moves as the schedule says.
//!
//! The curves and the length of the warm-up, rounded up, are those of transformers' `get_scheduler`. The warm-up is not:
//! there it starts at zero, so the first step teaches nothing, and a run of one step is no training at all. Here step `i`
//! of `n` has the share `(i + 1) / (n + 1)`, and the first step behind the warm-up the whole rate.

use crate::spec::params::{Schedule, SftParams};

/// The share of steps in which the rate of `wsd` falls.
const DECAY_RATIO: f64 = 0.1;

/// Returns the learning rate of step `step` of `steps`, counted from zero.
pub(super) fn learning_rate(params: &SftParams, step: usize, steps: usize) -> f64 {
    let warmup = params.warmup_steps.unwrap_or_else(|| (steps as f64 * params.warmup_ratio).ceil() as usize);
    if step < warmup {
        return params.learning_rate * (step + 1) as f64 / (warmup + 1) as f64;
    }
    let cosine = |done: f64| f64::midpoint(1.0, (std::f64::consts::PI * done).cos());
    let after = steps.saturating_sub(warmup);
    let done = (step - warmup) as f64 / after.max(1) as f64;
    let share = match params.lr_scheduler {
        Schedule::Cosine => cosine(done),
        Schedule::Linear => 1.0 - done,
        Schedule::Constant => 1.0,
        Schedule::Wsd => {
            let decay =
                ((steps as f64 * params.decay_ratio.unwrap_or(DECAY_RATIO)).ceil() as usize).clamp(1, after.max(1));
            let stable = after - decay.min(after);
            cosine((step - warmup).saturating_sub(stable) as f64 / decay as f64)
        }
    };
    params.learning_rate * (share * (1.0 - params.min_lr_ratio) + params.min_lr_ratio)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rates_of(schedule: &str, warmup_ratio: f64, steps: usize) -> Vec<f64> {
        let fields = json!({
            "model": "m", "data": ["d"], "learning_rate": 1.0, "warmup_ratio": warmup_ratio, "lr_scheduler": schedule,
        });
        let params: SftParams = serde_json::from_value(fields).unwrap();
        (0..steps).map(|step| learning_rate(&params, step, steps)).collect()
    }

    fn rates(schedule: &str) -> Vec<f64> {
        rates_of(schedule, 0.25, 8)
    }

    #[test]
    fn rates_rise_and_then_follow_the_schedule() {
        assert_eq!(rates("constant"), [1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let linear = [1.0 / 3.0, 2.0 / 3.0, 1.0, 5.0 / 6.0, 4.0 / 6.0, 0.5, 2.0 / 6.0, 1.0 / 6.0];
        assert!(rates("linear").iter().zip(linear).all(|(a, b)| (a - b).abs() < 1e-12));
        let cosine = rates("cosine");
        assert!((cosine[2] - 1.0).abs() < 1e-12 && (cosine[5] - 0.5).abs() < 1e-12);
        assert!(cosine[7] > 0.0 && cosine[7] < 0.1);
    }

    #[test]
    fn no_step_of_a_training_however_short_is_without_effect() {
        for schedule in ["constant", "linear", "cosine"] {
            for steps in 1..12 {
                for warmup_ratio in [0.0, 0.1, 0.5, 0.99] {
                    let rates = rates_of(schedule, warmup_ratio, steps);
                    assert!(
                        rates.iter().all(|rate| *rate > 0.0 && *rate <= 1.0),
                        "{schedule} {warmup_ratio} {rates:?}"
                    );
                }
            }
        }
        assert_eq!(rates_of("cosine", 0.1, 1), [0.5]);
    }
}
