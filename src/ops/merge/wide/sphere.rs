//! The methods that go by lengths and angles.

use super::super::OpError;
use super::super::methods::nuslerp::Lines;
use super::super::part::Work;
use super::{Parts, dot, norm, sum, times, with};

/// Above this |cosine| slerp takes the chord.
const PARALLEL: f64 = 0.9995;

pub(super) fn slerp(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    let base = work.base.unwrap_or(0);
    let (a, b) = (&all.parts[base], &all.parts[1 - base]);
    let t = work.shared.number("t");
    if t == 0.0 || (t - 1.0).abs() < f64::EPSILON / 4.0 {
        return if t == 0.0 { a.clone() } else { b.clone() };
    }
    let length = |v: &[f64]| Some(norm(v)).filter(|length| *length > 1e-8).unwrap_or(1.0);
    let cosine = (dot(a, b) / length(a) / length(b)).clamp(-1.0, 1.0);
    let [first, second] = if cosine.abs() > PARALLEL {
        [1.0 - t, t]
    } else {
        let angle = cosine.acos();
        [((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
    };
    with(a, b, |a, b| first * a + second * b)
}

pub(super) fn nuslerp(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    let weights: Vec<f64> = all.others().map(|(i, _)| work.each[i].number("weight")).collect();
    let total: f64 = weights.iter().sum();
    let t = if total.abs() < 1e-6 { 0.5 } else { weights[1] / total };
    let vectors = all.differences();
    let lines = Lines::of(work);
    let mut out = vec![0.0; vectors[0].len()];
    for line in 0..lines.count {
        let (a, b) = (lines.take(&vectors[0], line), lines.take(&vectors[1], line));
        let cosine = (dot(&a, &b) / norm(&a).max(1e-7) / norm(&b).max(1e-7)).clamp(-1.0, 1.0);
        let merged = if 1.0 - cosine * cosine <= 1e-16 {
            with(&a, &b, |a, b| (1.0 - t) * a + t * b)
        } else {
            let angle = cosine.acos();
            let (first, second) = (((1.0 - t) * angle).sin(), (t * angle).sin());
            with(&a, &b, |a, b| (first * a + second * b) / angle.sin())
        };
        lines.put(&mut out, line, &merged);
    }
    all.on_base(out)
}

fn weighted(vectors: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let first = times(&vectors[0], weights[0]);
    vectors[1..].iter().zip(&weights[1..]).fold(first, |sum, (v, weight)| with(&sum, v, |sum, x| sum + x * weight))
}

pub(super) fn multislerp(work: &Work<'_>, all: &Parts) -> Result<Vec<f64>, OpError> {
    let mut weights: Vec<f64> = all.others().map(|(i, _)| work.each[i].number("weight")).collect();
    if weights.len() == 1 {
        return Ok(all.others().next().map_or_else(Vec::new, |(_, only)| only.to_vec()));
    }
    let vectors = all.differences();
    if let (Some(base), true) = (all.base(), vectors.iter().flatten().all(|number| *number == 0.0)) {
        return Ok(base.to_vec());
    }
    if work.shared.flag("normalize_weights") {
        let total: f64 = weights.iter().sum();
        if total == 0.0 {
            return Err(OpError::new("the weights add up to zero, which nothing can be divided by"));
        }
        for weight in &mut weights {
            *weight /= total;
        }
    }
    let eps = work.shared.number("eps");
    let norms: Vec<f64> = vectors.iter().map(|vector| norm(vector)).collect();
    let units: Vec<Vec<f64>> =
        vectors.iter().zip(&norms).map(|(vector, norm)| times(vector, 1.0 / (norm + eps))).collect();
    let mean = weighted(&units, &weights);
    let length = norm(&mean);
    if length < eps {
        if vectors.len() > 2 {
            let message = "the weighted sum of the models' directions is zero, so there is no mean direction";
            return Err(OpError::new(message).help("choose other weights: opposite models cancel each other"));
        }
        return Ok(all.on_base(weighted(&vectors, &weights)));
    }
    let mean = times(&mean, 1.0 / length);
    let tangents: Vec<Vec<f64>> = units
        .iter()
        .map(|unit| {
            let along = dot(unit, &mean);
            with(unit, &mean, |unit, mean| unit - along * mean)
        })
        .collect();
    let tangent = weighted(&tangents, &weights);
    let length = norm(&tangent) + eps;
    let (cosine, sine) = (length.cos(), length.sin() / length);
    let whole: f64 = norms.iter().zip(&weights).map(|(norm, weight)| norm * weight).sum();
    Ok(all.on_base(with(&mean, &tangent, |mean, tangent| (mean * cosine + tangent * sine) * whole)))
}

pub(super) fn karcher(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    if all.parts.len() == 1 {
        return all.parts[0].clone();
    }
    let (rounds, tolerance) = (work.shared.number("max_iter").max(0.0) as usize, work.shared.number("tol"));
    let norms: Vec<f64> = all.parts.iter().map(|part| norm(part)).collect();
    let pairs = all.parts.iter().zip(&norms).filter(|(_, norm)| **norm > tolerance);
    let units: Vec<Vec<f64>> = pairs.map(|(part, norm)| times(part, 1.0 / norm)).collect();
    if units.is_empty() {
        return vec![0.0; all.parts[0].len()];
    }
    let share = 1.0 / units.len() as f64;
    let mut mean = weighted(&units, &vec![share; units.len()]);
    let length = norm(&mean);
    mean = if length < tolerance { units[0].clone() } else { times(&mean, 1.0 / length) };
    for _ in 0..rounds {
        let mut tangent = vec![0.0; mean.len()];
        for unit in &units {
            let cosine = dot(&mean, unit).clamp(-1.0, 1.0);
            let angle = cosine.acos();
            if angle >= tolerance {
                let factor = share * (angle / angle.sin());
                let away = with(unit, &mean, |unit, mean| factor * (unit - cosine * mean));
                tangent = with(&tangent, &away, |a, b| a + b);
            }
        }
        let length = norm(&tangent);
        if length < tolerance {
            break;
        }
        let (cosine, sine) = (length.cos(), length.sin() / length);
        mean = with(&mean, &tangent, |mean, tangent| cosine * mean + sine * tangent);
        let length = norm(&mean);
        if length > tolerance {
            mean = times(&mean, 1.0 / length);
        }
    }
    times(&mean, norms.iter().sum::<f64>() / norms.len() as f64)
}

pub(super) fn model_stock(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    let Some(base) = all.base() else { return all.parts[0].clone() };
    let offsets = all.differences();
    let count = offsets.len() as f64;
    let length = match work.shape {
        [_, .., last] if work.shared.flag("filter_wise") => *last,
        _ => base.len(),
    };
    let mut out = Vec::with_capacity(base.len());
    for from in (0..base.len()).step_by(length) {
        let row = from..from + length;
        let mut cosines = Vec::new();
        for (i, a) in offsets.iter().enumerate() {
            for b in &offsets[i + 1..] {
                let (a, b) = (&a[row.clone()], &b[row.clone()]);
                cosines.push((dot(a, b) / (norm(a) * norm(b)).max(1e-6)).clamp(-1.0, 1.0));
            }
        }
        let cosine = sum(&cosines) / cosines.len() as f64;
        let below = 1.0 + (count - 1.0) * cosine;
        let t = if below.abs() < 1e-6 { 0.0 } else { count * cosine / below };
        for i in row {
            let mean = all.others().map(|(_, part)| part[i]).sum::<f64>() / count;
            out.push(t * mean + (1.0 - t) * base[i]);
        }
    }
    out
}
