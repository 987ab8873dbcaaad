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

    /// Twelve steps, three of them of warm-up: what follows is transformers' `get_scheduler`, number for number. The warm-up is
    /// not (see above).
    #[test]
    #[expect(clippy::unreadable_literal, reason = "as Python prints them")]
    fn behind_the_warm_up_rates_are_those_of_transformers() {
        let cosine = [
            1.0,
            0.9698463103929542,
            0.883022221559489,
            0.75,
            0.5868240888334653,
            0.41317591116653485,
            0.2500000000000001,
            0.11697777844051105,
            0.03015368960704584,
        ];
        let with_floor = [
            1.0,
            0.9728616793536587,
            0.8947199994035401,
            0.775,
            0.6281416799501187,
            0.4718583200498814,
            0.3250000000000001,
            0.20528000059645996,
            0.12713832064634126,
        ];
        let linear = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0].map(|ninths| ninths / 9.0);
        let wsd =
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.9045084971874737, 0.6545084971874737, 0.34549150281252633, 0.09549150281252633];
        let wsd_with_floor =
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.9140576474687263, 0.6890576474687263, 0.41094235253127376, 0.18594235253127372];
        let short_wsd = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5];
        for (settings, expected) in [
            (json!({"lr_scheduler": "cosine"}), cosine),
            (json!({"lr_scheduler": "cosine", "min_lr_ratio": 0.1}), with_floor),
            (json!({"lr_scheduler": "linear"}), linear),
            (json!({"lr_scheduler": "constant"}), [1.0; 9]),
            // Five steps of twelve, rounded up; two by default.
            (json!({"lr_scheduler": "wsd", "decay_ratio": 0.4}), wsd),
            (json!({"lr_scheduler": "wsd", "decay_ratio": 0.4, "min_lr_ratio": 0.1}), wsd_with_floor),
            (json!({"lr_scheduler": "wsd"}), short_wsd),
        ] {
            let mut fields = json!({"model": "m", "data": ["d"], "learning_rate": 1.0, "warmup_steps": 3});
            fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let params: SftParams = serde_json::from_value(fields).unwrap();
            for (step, expected) in (3..12).zip(expected) {
                let rate = learning_rate(&params, step, 12);
                assert!((rate - expected).abs() <= 1e-15, "{settings}: {rate} at step {step}, not {expected}");
            }
            for (step, expected) in [0.25, 0.5, 0.75].into_iter().enumerate() {
                assert!((learning_rate(&params, step, 12) - expected).abs() <= 1e-15);
            }
        }
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
