//! Scores of several samples of one question: pass@k, G-Pass@k, maj@k.

/// The unbiased estimate that one of `k` samples is right, of `n` of which `correct` are (Chen et al. 2021, eq. 1):
/// `1 - Π (1 - k/i)` for `i` from `n - correct + 1` to `n`.
pub fn pass_at_k(n: usize, correct: usize, k: usize) -> f64 {
    let wrong = n.saturating_sub(correct);
    if wrong < k {
        return 1.0;
    }
    1.0 - (wrong + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

/// The chance that at least `⌈threshold·k⌉` (and at least one) of `k` samples drawn without replacement are right
/// (G-Pass@k, Liu et al. 2024, eq. 3).
pub fn g_pass_at_k(n: usize, correct: usize, k: usize, threshold: f64) -> f64 {
    if correct == 0 || k == 0 || k > n {
        return 0.0;
    }
    let least = ((threshold * k as f64).ceil() as usize).max(1);
    let ln_choose = |n: usize, k: usize| (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum::<f64>();
    let all = ln_choose(n, k);
    let wrong = n - correct.min(n);
    (least..=k.min(correct))
        .filter(|j| k - j <= wrong)
        .map(|j| (ln_choose(correct, j) + ln_choose(wrong, k - j) - all).exp())
        .sum()
}

/// The mean of `g_pass_at_k` over the thresholds above one half (mG-Pass@k, the paper's eq. 5).
pub fn mean_g_pass_at_k(n: usize, correct: usize, k: usize) -> f64 {
    let from = (k as f64 * 0.5).ceil() as usize;
    2.0 * (from + 1..=k).map(|i| g_pass_at_k(n, correct, k, i as f64 / k as f64)).sum::<f64>() / k.max(1) as f64
}

/// The most frequent of the first `k` answers; of equally frequent ones the one that came first.
pub fn majority<T: PartialEq>(answers: &[T], k: usize) -> Option<&T> {
    let answers = &answers[..k.min(answers.len())];
    let count = |a: &T| answers.iter().filter(|b| *b == a).count();
    let mut best: Option<(&T, usize)> = None;
    for answer in answers {
        let n = count(answer);
        if best.is_none_or(|(_, most)| n > most) {
            best = Some((answer, n));
        }
    }
    best.map(|(a, _)| a)
}

/// The most frequent of the first `k` answers where equality is a judgement, such as mathematical equivalence: the index of the
/// first member of the largest class.
pub fn majority_by<T>(answers: &[T], k: usize, equal: impl Fn(&T, &T) -> bool) -> Option<usize> {
    let mut classes: Vec<(usize, usize)> = Vec::new();
    for (i, answer) in answers.iter().take(k).enumerate() {
        match classes.iter_mut().find(|(first, _)| equal(&answers[*first], answer)) {
            Some((_, n)) => *n += 1,
            None => classes.push((i, 1)),
        }
    }
    let most = classes.iter().map(|(_, n)| *n).max()?;
    classes.iter().find(|(_, n)| *n == most).map(|(first, _)| *first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.01
    }

    #[test]
    fn pass_at_k_is_lightevals() {
        for (n, c, k, expected) in [(2, 1, 1, 0.5), (2, 0, 1, 0.0), (3, 1, 2, 0.66), (1, 1, 1, 1.0), (5, 4, 2, 1.0)] {
            assert!(close(pass_at_k(n, c, k), expected), "{n} {c} {k}");
        }
    }

    #[test]
    fn pass_at_k_is_the_share_of_draws_with_a_hit() {
        // 4 samples, 2 right, 2 drawn: 6 draws, one without a hit.
        assert!((pass_at_k(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert!((pass_at_k(10, 3, 1) - 0.3).abs() < 1e-12);
        assert!((pass_at_k(1, 1, 1) - 1.0).abs() < 1e-12);
        assert!(pass_at_k(1, 0, 1).abs() < 1e-12);
        assert!((g_pass_at_k(4, 2, 2, 0.0) - 5.0 / 6.0).abs() < 1e-12);
        assert!((g_pass_at_k(4, 2, 2, 1.0) - 1.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn majority_takes_the_first_of_the_most_frequent() {
        assert_eq!(majority(&["Paris", "Paris", "London"], 3), Some(&"Paris"));
        assert_eq!(majority(&["Paris", "London", "Berlin"], 3), Some(&"Paris"));
        assert_eq!(majority(&["a", "b", "b"], 2), Some(&"a"));
        assert_eq!(majority(&["a", "b", "b", "a"], 4), Some(&"a"));
        assert_eq!(majority::<u8>(&[], 3), None);
        assert_eq!(majority_by(&[1, 12, 11, 22], 4, |a, b| a % 10 == b % 10), Some(0));
    }
}
