//! The methods that take tensors as vectors. Angles are few numbers, and computed on the CPU.

use candle_core::{DType, Device, Result as Done, Tensor};

use super::super::methods::{arcee_fusion, multislerp, nuslerp, slerp};
use super::super::twister::Twister;
use super::super::{OpError, trig};
use super::{On, add, angle, norm, total};

impl On<'_, '_> {
    pub(super) fn slerp(&self) -> Done<Tensor> {
        let base = self.work.base.unwrap_or(0);
        let parts = [base, 1 - base];
        let t = self.number("t");
        if t == 0.0 || (t - 1.0).abs() < f32::EPSILON / 4.0 {
            return self.part(parts[usize::from(t != 0.0)]);
        }
        let (a, b) = (self.part(parts[0])?, self.part(parts[1])?);
        let length = |tensor: &Tensor| Ok(Some(norm(tensor)?).filter(|length| *length > 1e-8).unwrap_or(1.0));
        let unit = |tensor: &Tensor| -> Done<Tensor> {
            let length: Done<f32> = length(tensor);
            tensor.broadcast_div(&Tensor::new(length?, self.device)?)
        };
        let cosine = total(&(unit(&a)? * unit(&b)?)?)?.clamp(-1.0, 1.0);
        let ([first, second], _) = slerp::coefficients_of(self.work, cosine);
        self.r(&(a.affine(f64::from(first), 0.0)? + b.affine(f64::from(second), 0.0)?)?)
    }

    pub(super) fn nuslerp(&self) -> Done<Tensor> {
        let parts = self.others();
        let (a, b) = (self.difference(parts[0])?, self.difference(parts[1])?);
        let rank = self.work.shape.len();
        let flat = rank < 2 || self.work.shared.flag("nuslerp_flatten");
        let along = if self.work.shared.flag("nuslerp_row_wise") { 0 } else { rank.max(1) - 1 };
        let sum = |tensor: &Tensor| -> Done<Tensor> {
            if flat { tensor.sum_all()?.reshape(vec![1; rank]) } else { tensor.sum_keepdim(along) }
        };
        let unit = |tensor: &Tensor| -> Done<Tensor> {
            let lengths = self.r(&sum(&tensor.sqr()?)?.sqrt()?)?.clamp(self.one(1e-7), f32::MAX)?;
            self.r(&tensor.broadcast_div(&lengths)?)
        };
        let cosines = self.r(&sum(&self.r(&(unit(&a)? * unit(&b)?)?)?)?)?;
        let arcs = nuslerp::coefficients(self.work, &cosines.flatten_all()?.to_vec1::<f32>()?);
        let [first, second, divisor] = arcs;
        let bring =
            |numbers: Vec<f32>| Tensor::from_vec(numbers, cosines.shape(), &Device::Cpu)?.to_device(self.device);
        let a = self.r(&a.broadcast_mul(&bring(first)?)?)?;
        let b = self.r(&b.broadcast_mul(&bring(second)?)?)?;
        self.plus_base(self.r(&self.r(&(a + b)?)?.broadcast_div(&bring(divisor)?)?)?)
    }

    pub(super) fn multislerp(&self) -> Result<Done<Tensor>, OpError> {
        let parts = self.others();
        if let [only] = parts[..] {
            return Ok(self.part(only));
        }
        let weights = multislerp::weights(self.work, &parts)?;
        match self.sphere(&parts, &weights) {
            Ok(None) => Err(multislerp::no_mean()),
            Ok(Some(tensor)) => Ok(Ok(tensor)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Returns nothing if more than two models cancel each other.
    fn sphere(&self, parts: &[usize], weights: &[f32]) -> Done<Option<Tensor>> {
        let eps = self.work.shared.number("eps");
        let vectors = parts.iter().map(|i| self.difference(*i)).collect::<Done<Vec<_>>>()?;
        let norms = vectors.iter().map(|vector| Ok(self.one(norm(vector)?))).collect::<Done<Vec<f32>>>()?;
        if let (Some(base), true) = (self.work.base, norms.iter().all(|norm| *norm == 0.0)) {
            return self.part(base).map(Some);
        }
        let weighted = |tensors: &[Tensor]| -> Done<Tensor> {
            let each = tensors.iter().zip(weights).map(|(tensor, weight)| self.times(tensor, *weight));
            self.r(&add(&each.collect::<Done<Vec<_>>>()?)?)
        };
        let unit = |(vector, norm): (&Tensor, &f32)| self.over(vector, self.one(norm + eps as f32));
        let units = vectors.iter().zip(&norms).map(unit).collect::<Done<Vec<_>>>()?;
        let mean = weighted(&units)?;
        let length = self.one(norm(&mean)?);
        if f64::from(length) < eps {
            let opposite = vectors.len() == 2;
            return opposite.then(|| self.plus_base(weighted(&vectors)?)).transpose();
        }
        let mean = self.over(&mean, length)?;
        let across = |unit: &Tensor| -> Done<Tensor> {
            let dot = self.one(total(&self.r(&(unit * &mean)?)?)?);
            self.r(&(unit - self.times(&mean, dot)?)?)
        };
        let tangent = weighted(&units.iter().map(across).collect::<Done<Vec<_>>>()?)?;
        let length = self.one(self.one(norm(&tangent)?) + eps as f32);
        let (cosine, sine) = (self.one(trig::cos(length)), self.one(trig::sin(length)));
        let result = (self.times(&mean, cosine)? + self.times(&tangent, self.one(sine / length))?)?;
        let lengths = norms.iter().zip(weights).map(|(norm, weight)| self.one(norm * weight));
        let scale = self.one(lengths.fold(0.0, |sum, length| sum + length));
        self.plus_base(self.times(&self.r(&result)?, scale)?).map(Some)
    }

    pub(super) fn karcher(&self) -> Done<Tensor> {
        let count = self.work.parts.len();
        if count == 1 {
            return self.part(0);
        }
        let (rounds, tolerance) = (self.number("max_iter").max(0.0) as usize, self.number("tol"));
        let (mut scale, mut units) = (0.0_f32, Vec::new());
        for i in 0..count {
            let vector = self.part(i)?;
            let norm = norm(&vector)?;
            scale += (1.0 / count as f64) as f32 * norm;
            if norm > tolerance {
                units.push(self.over(&vector, norm)?);
            }
        }
        if units.is_empty() {
            return self.part(0)?.zeros_like();
        }
        let alpha = (1.0 / units.len() as f64) as f32;
        let mut mean = units[0].zeros_like()?;
        for unit in &units {
            mean = self.r(&(mean + self.times(unit, alpha)?)?)?;
        }
        let length = norm(&mean)?;
        mean = if length < tolerance { units[0].clone() } else { self.over(&mean, length)? };
        for _ in 0..rounds {
            let tangent = self.tangent(&mean, &units, alpha, tolerance)?;
            let length = norm(&tangent)?;
            if length < tolerance {
                break;
            }
            let (cosine, sine) = (self.one(trig::cos(length)), self.one(trig::sin(length)));
            let along = self.times(&self.over(&tangent, length)?, sine)?;
            mean = self.r(&(self.times(&mean, cosine)? + along)?)?;
            let length = norm(&mean)?;
            if length > tolerance {
                mean = self.over(&mean, length)?;
            }
        }
        self.times(&mean, self.one(scale))
    }

    fn tangent(&self, mean: &Tensor, units: &[Tensor], alpha: f32, tolerance: f32) -> Done<Tensor> {
        let mut tangent = mean.zeros_like()?;
        for unit in units {
            let dot = self.one(total(&(mean * unit)?)?).clamp(-1.0, 1.0);
            let angle = self.one(angle(dot));
            if angle < tolerance {
                continue;
            }
            let factor = self.one(alpha * self.one(angle / self.one(trig::sin(angle))));
            let across = self.r(&(unit - self.times(mean, dot)?)?)?;
            tangent = self.r(&(tangent + self.times(&across, factor)?)?)?;
        }
        Ok(tangent)
    }

    pub(super) fn model_stock(&self) -> Done<Tensor> {
        let parts = self.others();
        let Some(base) = self.work.base else { return self.part(0) };
        let count = parts.len() as f32;
        let length = match self.work.shape {
            [_, .., last] if self.work.shared.flag("filter_wise") => *last,
            _ => self.work.count(),
        };
        let rows = |tensor: Tensor| tensor.reshape((self.work.count() / length, length));
        let offsets = parts.iter().map(|i| rows(self.difference(*i)?)).collect::<Done<Vec<_>>>()?;
        let norms = offsets.iter().map(|offset| self.r(&offset.sqr()?.sum_keepdim(1)?.sqrt()?));
        let norms = norms.collect::<Done<Vec<_>>>()?;
        let mut cosines = Vec::new();
        for i in 0..offsets.len() {
            for j in i + 1..offsets.len() {
                let dot = self.r(&self.r(&(&offsets[i] * &offsets[j])?)?.sum_keepdim(1)?)?;
                let lengths = self.r(&(&norms[i] * &norms[j])?)?.clamp(self.one(1e-6), f32::MAX)?;
                cosines.push(self.r(&(dot / lengths)?)?.clamp(-1.0_f32, 1.0_f32)?);
            }
        }
        let cosine = self.over(&add(&cosines)?, cosines.len() as f32)?;
        let below = self.r(&self.times(&cosine, count - 1.0)?.affine(1.0, 1.0)?)?;
        let usable = below.abs()?.ge(1e-6_f32)?;
        let ratio = self.r(&(self.times(&cosine, count)? / usable.where_cond(&below, &below.ones_like()?)?)?)?;
        let ratio = usable.where_cond(&ratio, &ratio.zeros_like()?)?;
        let mut mean = self.part(parts[0])?;
        for i in &parts[1..] {
            mean = self.r(&(mean + self.part(*i)?)?)?;
        }
        let mean = self.r(&rows(self.over(&mean, count)?)?.broadcast_mul(&ratio)?)?;
        let rest = self.r(&ratio.affine(-1.0, 1.0)?)?;
        self.r(&(mean + self.r(&rows(self.part(base)?)?.broadcast_mul(&rest)?)?)?)
    }

    pub(super) fn fusion(&self, twister: &mut Twister) -> Done<Tensor> {
        let (Some(base), Some(other)) = (self.work.base, self.others().first().copied()) else { return self.part(0) };
        let length = self.work.shape.last().copied().unwrap_or(1);
        let rows = (self.work.count() / length, length);
        let softmax = |i: usize| -> Done<Tensor> {
            let rows = self.part(i)?.reshape(rows)?;
            let powers = rows.broadcast_sub(&rows.max_keepdim(1)?)?.exp()?;
            let share = self.r(&powers.broadcast_div(&powers.sum_keepdim(1)?)?)?;
            self.r(&share.affine(1.0, 1e-8)?)
        };
        let (p, q) = (softmax(other)?, softmax(base)?);
        let terms = self.r(&(&p * self.r(&self.r(&(&p / &q)?)?.log()?)?)?)?;
        let moved = self.r(&terms.sum_keepdim(1)?)?;
        let difference = self.difference(other)?.reshape(rows)?;
        let importance = self.r(&difference.abs()?.broadcast_mul(&moved)?)?;
        let all = importance.flatten_all()?.to_vec1::<f32>()?;
        let threshold = arcee_fusion::threshold(self.work, twister, |place| all[place]);
        let mask = importance.ge(threshold)?.to_dtype(DType::F32)?;
        self.part(base)?.reshape(rows)? + (difference * mask)?
    }
}
