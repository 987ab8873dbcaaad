//! The next value of a search, from all that is known. Pure: what was seen decides, so a search that was stopped goes on
//! where it was, and one that is repeated does the same again.
//!
//! Golden section looks at the best value so far and its nearest neighbours on both sides: with one optimum, it lies
//! between these two, and the wider gap is divided by the golden ratio. The bounds need no trial of their own to be
//! reached, since the gap beside the outermost value reaches to just beyond them; so the best may lie at an end.

use super::gaussian;
use crate::spec::params::{Goal, Search, SearchMethod};
use crate::spec::search::GOLDEN;
pub use crate::spec::search::{Grid, initial, value};

/// Returns the value to try next, after those in `seen` with what they gave; nothing when the trials are used up or when
/// there is nothing left to learn.
pub fn next(search: &Search, goal: Goal, seen: &[(f64, f64)]) -> Option<f64> {
    let grid = Grid::of(search);
    let mut known: Vec<(i64, f64)> = seen.iter().map(|(x, y)| (grid.index(*x), height(goal, *y))).collect();
    known.sort_by(|left, right| left.0.cmp(&right.0).then(right.1.total_cmp(&left.1)));
    known.dedup_by_key(|(index, _)| *index);
    if known.len() >= search.trials {
        return None;
    }
    let begun = |index: i64| known.binary_search_by_key(&index, |(index, _)| *index).is_ok();
    if let Some(first) = initial(search).into_iter().find(|x| !begun(grid.index(*x))) {
        return Some(first);
    }
    let index = match search.method {
        SearchMethod::Golden => golden(&grid, &known)?,
        SearchMethod::Bayesian => gaussian::next(grid.last, &known)?,
    };
    Some(grid.at(index))
}

/// Returns what a metric is worth: more is better. What is no number is the worst.
fn height(goal: Goal, metric: f64) -> f64 {
    match goal {
        _ if metric.is_nan() => f64::NEG_INFINITY,
        Goal::Max => metric,
        Goal::Min => -metric,
    }
}

/// Divides the wider gap beside the best index. `known` is sorted by index.
fn golden(grid: &Grid, known: &[(i64, f64)]) -> Option<i64> {
    let mut best = 0;
    for (i, (_, height)) in known.iter().enumerate() {
        if height.total_cmp(&known[best].1).is_gt() {
            best = i;
        }
    }
    let at = known[best].0;
    let before = if best == 0 { -1 } else { known[best - 1].0 };
    let after = known.get(best + 1).map_or(grid.last + 1, |(index, _)| *index);
    let (left, right) = (at - before, after - at);
    if left.max(right) <= 1 {
        return None;
    }
    let step = |gap: i64| ((gap as f64 * GOLDEN).round() as i64).clamp(1, gap - 1);
    Some(if right >= left { at + step(right) } else { at - step(left) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "one grid gives the same number twice")]

    use proptest::prelude::*;

    use super::*;

    fn search(low: f64, high: f64, precision: f64, trials: usize, method: SearchMethod) -> Search {
        Search { parameter: "t".into(), low, high, trials, precision, method }
    }

    /// Runs a search to its end and returns what was tried, in order.
    fn tried(search: &Search, goal: Goal, metric: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut seen: Vec<(f64, f64)> = initial(search).into_iter().map(|x| (x, metric(x))).collect();
        while let Some(x) = next(search, goal, &seen) {
            assert!(x >= search.low - 1e-12 && x <= search.high + 1e-12, "{x}");
            assert!(seen.iter().all(|(other, _)| *other != x), "{x} is proposed twice: {seen:?}");
            seen.push((x, metric(x)));
            assert!(seen.len() <= search.trials);
        }
        seen
    }

    fn best(seen: &[(f64, f64)]) -> f64 {
        seen.iter().copied().max_by(|left, right| left.1.total_cmp(&right.1)).unwrap().0
    }

    #[test]
    fn values_have_few_decimals_and_whole_ones_stay_whole() {
        let ratio = search(0.0, 1.0, 0.05, 12, SearchMethod::Golden);
        assert_eq!(initial(&ratio), [0.4, 0.6]);
        assert_eq!(Grid::of(&ratio).at(3).to_string(), "0.15");
        assert_eq!(Grid::of(&ratio).last, 20);
        let steps = search(100.0, 400.0, 50.0, 12, SearchMethod::Bayesian);
        assert_eq!(initial(&steps), [100.0, 200.0, 300.0, 400.0]);
        assert_eq!(value(&steps, 200.0), serde_json::json!(200));
        assert_eq!(value(&ratio, 0.15), serde_json::json!(0.15));
    }

    #[test]
    fn both_methods_find_an_optimum_at_an_end() {
        for method in [SearchMethod::Golden, SearchMethod::Bayesian] {
            let search = search(0.0, 1.0, 0.01, 20, method);
            assert_eq!(best(&tried(&search, Goal::Max, |x| x)), 1.0, "{method:?}");
            assert_eq!(best(&tried(&search, Goal::Max, |x| -x)), 0.0, "{method:?}");
        }
    }

    #[test]
    fn bayesian_search_finds_the_higher_of_two_hills() {
        let hills = |x: f64| (-((x - 0.2) / 0.1f64).powi(2)).exp() + 1.5 * (-((x - 0.83) / 0.07f64).powi(2)).exp();
        let search = search(0.0, 1.0, 0.01, 25, SearchMethod::Bayesian);
        let found = best(&tried(&search, Goal::Max, hills));
        assert!((found - 0.83).abs() <= 0.0101, "{found}");
    }

    #[test]
    fn metrics_that_are_no_numbers_do_not_win() {
        for method in [SearchMethod::Golden, SearchMethod::Bayesian] {
            let search = search(0.0, 1.0, 0.1, 8, method);
            let seen = tried(&search, Goal::Min, |x| if x > 0.5 { f64::NAN } else { -x });
            assert!(seen.iter().filter(|(x, _)| *x <= 0.5).count() >= 2, "{method:?}: {seen:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// With one optimum, golden section knows it to within the gap that so many trials leave, or exactly.
        #[test]
        fn golden_section_keeps_its_promise(
            top in -0.1..1.1f64, left in 0.2..5.0f64, right in 0.2..5.0f64, trials in 3..30usize,
            steps in 2..5000i64, down: bool,
        ) {
            let search = search(0.0, 1.0, 1.0 / steps as f64, trials, SearchMethod::Golden);
            let hill = |x: f64| if x < top { -(top - x) * left } else { -(x - top).powi(2) * right };
            let goal = if down { Goal::Min } else { Goal::Max };
            let seen = tried(&search, goal, |x| if down { -hill(x) } else { hill(x) });
            let highest = seen.iter().map(|(x, _)| (*x, hill(*x))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
            let grid = Grid::of(&search);
            let true_best = (0..=grid.last).max_by(|a, b| hill(grid.at(*a)).total_cmp(&hill(grid.at(*b)))).unwrap();
            let gap = (grid.last + 2) as f64 * 0.618f64.powi(seen.len() as i32 - 1) + 2.0;
            let off = (grid.index(highest) - true_best).abs();
            prop_assert!(off as f64 <= gap, "{off} > {gap} after {} trials", seen.len());
            if seen.len() < trials {
                prop_assert_eq!(hill(grid.at(true_best)), hill(highest), "it ended before its trials, so it is sure");
            }
        }

        #[test]
        fn any_search_ends_stays_inside_and_repeats_itself(
            heights in proptest::collection::vec(-3.0..3.0f64, 64), trials in 3..12usize, steps in 2..60i64,
            bayesian: bool, low in -5.0..5.0f64,
        ) {
            let method = if bayesian { SearchMethod::Bayesian } else { SearchMethod::Golden };
            let low = (low * 10.0).round() / 10.0;
            let search = search(low, low + steps as f64 * 0.25, 0.25, trials, method);
            let metric = |x: f64| heights[Grid::of(&search).index(x) as usize % heights.len()];
            let seen = tried(&search, Goal::Max, metric);
            prop_assert_eq!(&seen, &tried(&search, Goal::Max, metric));
            // What is known decides, not the order in which it came.
            let mut turned = seen[..seen.len() - 1].to_vec();
            let wanted = next(&search, Goal::Max, &turned);
            turned.reverse();
            prop_assert_eq!(wanted, next(&search, Goal::Max, &turned));
        }
    }
}
