//! The loss of a training, step by step, and its drawing.

use serde::{Deserialize, Serialize};

use super::chart::{Chart, Line, Look, Point};
use super::scale::Scale;
use crate::ops::{InputArtifact, OpError};

/// The largest log that is read, in bytes.
const MAX_SIZE: u64 = 1 << 30;

/// Points that are drawn of a curve; a longer one is drawn by the means of equal stretches.
const MAX_DRAWN: usize = 800;

/// Points of a curve that answer to the pointer.
const TOUCHED: usize = 60;

/// The loss of one training.
#[derive(Debug, Serialize)]
pub(super) struct Curve {
    pub(super) label: String,
    pub(super) points: Vec<Step>,
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) step: u64,
    pub(super) loss: f64,
}

impl Curve {
    /// Reads `loss.jsonl` of a training log.
    pub(super) fn read(input: &InputArtifact) -> Result<Self, OpError> {
        let path = input.path.join("loss.jsonl");
        let size = fs_err::metadata(&path)?.len();
        if size > MAX_SIZE {
            return Err(OpError::new(format!("{} is too large for a training log: {size} bytes", path.display())));
        }
        let text = fs_err::read_to_string(&path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let step = |(number, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|error| OpError::caused(format!("line {} of {}", number + 1, path.display()), error))
        };
        let points = lines.map(step).collect::<Result<Vec<Step>, _>>()?;
        Ok(Self { label: input.label.clone(), points })
    }

    /// Returns the means of the first and the last tenth of the steps, which one noisy step does not decide.
    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        let tenth = self.points.len().div_ceil(10);
        let mean = |steps: &[Step]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
        (tenth > 0).then(|| (mean(&self.points[..tenth]), mean(&self.points[self.points.len() - tenth..])))
    }

    /// Returns how many steps the smoothed line is a mean over.
    pub(super) fn window(&self) -> usize {
        let drawn = self.points.len().div_ceil(stretch(self.points.len()));
        (2 * half_window(drawn) + 1) * stretch(self.points.len())
    }

    /// Returns the drawing: every step, and a running mean over it. None if there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let drawn = thinned(&self.points);
        let smooth = smoothed(&drawn);
        let title = format!("Training loss of {} over {} steps", self.label, self.points.len());
        let every = drawn.len().div_ceil(TOUCHED).max(1);
        let titled = |i: usize, step: &Step| {
            let told = i.is_multiple_of(every) || i + 1 == smooth.len();
            if told { format!("step {}: loss {:.3}", step.step, step.loss) } else { String::new() }
        };
        let line = |look, steps: &[Step], title: &dyn Fn(usize, &Step) -> String| Line {
            look,
            points: steps
                .iter()
                .enumerate()
                .map(|(i, step)| Point {
                    x: step.step as f64,
                    y: step.loss,
                    error: None,
                    title: title(i, step),
                    chosen: false,
                })
                .collect(),
        };
        let chart = Chart {
            title: &title,
            width: 460.0,
            height: 280.0,
            right: 14.0,
            x: Scale::exact(drawn.iter().map(|step| step.step as f64), 6)?,
            x_name: "optimizer step",
            y: Scale::rounded(drawn.iter().map(|step| step.loss), 5)?,
            y_suffix: "",
            lines: vec![line(Look::Raw, &drawn, &|_, _| String::new()), line(Look::Smooth, &smooth, &titled)],
            references: Vec::new(),
        };
        Some(chart.svg())
    }
}

/// Returns at most [`MAX_DRAWN`] steps, each the mean of as many as it stands for.
fn thinned(steps: &[Step]) -> Vec<Step> {
    let mean = |steps: &[Step]| Step {
        step: steps[steps.len() - 1].step,
        loss: steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64,
    };
    steps.chunks(stretch(steps.len())).map(mean).collect()
}

/// Returns how many of so many steps one drawn point stands for.
fn stretch(steps: usize) -> usize {
    steps.div_ceil(MAX_DRAWN).max(1)
}

fn half_window(steps: usize) -> usize {
    (steps / 40).max(usize::from(steps > 8))
}

/// Returns the mean over a window around each step, which is cut at the ends of the curve.
fn smoothed(steps: &[Step]) -> Vec<Step> {
    let half = half_window(steps.len());
    (0..steps.len())
        .map(|i| {
            let reach = half.min(i).min(steps.len() - 1 - i);
            let around = &steps[i - reach..=i + reach];
            let loss = around.iter().map(|step| step.loss).sum::<f64>() / around.len() as f64;
            Step { step: steps[i].step, loss }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_line_and_the_count() {
        let steps: Vec<Step> = (0..200).map(|step| Step { step, loss: 5.0 - step as f64 / 50.0 }).collect();
        let smooth = smoothed(&steps);
        assert_eq!(smooth.len(), steps.len());
        for (smooth, step) in smooth.iter().zip(&steps) {
            assert!((smooth.loss - step.loss).abs() < 1e-9, "step {}", step.step);
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_mean() {
        let steps: Vec<Step> = (1..=8000).map(|step| Step { step, loss: (step % 10) as f64 }).collect();
        let thin = thinned(&steps);
        assert_eq!(thin.len(), MAX_DRAWN);
        assert!(thin.iter().all(|step| (step.loss - 4.5).abs() < 1e-9));
        assert_eq!(thin.last().map(|step| step.step), Some(8000));
    }
}
