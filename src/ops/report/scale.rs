//! From numbers to places on a chart, with ticks where a person would put them: at 1, 2 or 5 times a power of ten.

/// A range of numbers and the ticks on it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) ticks: Vec<f64>,
    /// Decimals that tell the ticks apart.
    pub(super) decimals: usize,
}

impl Scale {
    /// Returns a scale that begins and ends at a tick, with about `wanted` of them.
    pub(super) fn rounded(numbers: impl Iterator<Item = f64>, wanted: usize) -> Option<Self> {
        let (min, max) = range(numbers)?;
        let step = step(max - min, wanted)?;
        let (first, last) = ((min / step).floor(), (max / step).ceil());
        Some(Self::of(first * step, last * step, step, first, last))
    }

    /// Returns a scale of exactly the range of the numbers, with ticks inside.
    pub(super) fn exact(numbers: impl Iterator<Item = f64>, wanted: usize) -> Option<Self> {
        let (min, max) = range(numbers)?;
        let step = step(max - min, wanted)?;
        // A tick that falls on an end but for a rounding error is a tick.
        let (first, last) = ((min / step - 1e-9).ceil(), (max / step + 1e-9).floor());
        Some(Self::of(min, max, step, first, last))
    }

    fn of(min: f64, max: f64, step: f64, first: f64, last: f64) -> Self {
        let count = (last - first).clamp(0.0, 100.0) as u32;
        let ticks = (0..=count).map(|i| (first + f64::from(i)) * step).collect();
        Self { min, max, ticks, decimals: (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize }
    }

    /// Returns how far along the scale a number is, 0 at its beginning and 1 at its end.
    pub(super) fn along(&self, number: f64) -> f64 {
        (number - self.min) / (self.max - self.min)
    }

    /// Returns the text beside a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        // Adding zero turns -0 into 0.
        format!("{:.*}", self.decimals, (tick * 1e9).round() / 1e9 + 0.0)
    }
}

/// Returns the least and the greatest number, made apart if they are one. None without numbers, or beyond all bounds.
fn range(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (min, max) =
        numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), number| (min.min(number), max.max(number)));
    let drawable = min.is_finite() && max.is_finite() && min.abs().max(max.abs()) < 1e12;
    let apart = if max - min > 1e-9 { 0.0 } else { 0.5 };
    drawable.then_some((min - apart, max + apart))
}

fn step(span: f64, wanted: usize) -> Option<f64> {
    let rough = span / wanted.max(1) as f64;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999)?;
    (step.is_finite() && step > 0.0).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_numbers() {
        let scale = Scale::rounded([1.83, 2.41].into_iter(), 5).unwrap();
        assert_eq!(labels(&scale), ["1.8", "2.0", "2.2", "2.4", "2.6"]);
        let scale = Scale::exact([0.0, 0.1, 1.0].into_iter(), 5).unwrap();
        assert_eq!(labels(&scale), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let scale = Scale::exact([1.0, 400.0].into_iter(), 6).unwrap();
        assert_eq!(labels(&scale), ["100", "200", "300", "400"]);
        let scale = Scale::rounded([-0.3, 0.2].into_iter(), 3).unwrap();
        assert_eq!(labels(&scale), ["-0.4", "-0.2", "0.0", "0.2"]);
    }

    #[test]
    fn one_number_gets_a_range_and_none_gets_no_scale() {
        let scale = Scale::rounded([2.0].into_iter(), 4).unwrap();
        assert!(scale.min < 2.0 && scale.max > 2.0);
        assert!(Scale::rounded(std::iter::empty(), 4).is_none());
        assert!(Scale::rounded([f64::NAN].into_iter(), 4).is_none());
        assert!(Scale::rounded([f64::MIN, f64::MAX].into_iter(), 4).is_none());
    }
}
