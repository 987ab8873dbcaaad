//! The merge methods as operations on tensors of a device: the same formulas, rounded in the same places.
//!
//! A GPU adds the numbers of a sum in an order of its own, so lengths and products are those of the CPU to some places,
//! and what depends on them too. What is kept of a model's differences is found on the CPU: draws are one stream, which
//! has an order, and magnitudes at the edge are kept by their place, which no device sorts by. On the CPU the fused
//! kernels are faster; there these formulas are what the kernels are tested against.

mod vectors;

use candle_core::{DType, Device, Result as Done, Tensor};

use super::combine::{Combine, Each};
use super::methods::{sce, sparsify, task};
use super::part::{Work, rounded};
use super::twister::Twister;
use super::{OpError, trig};
use crate::spec::params::{Compat, MergeMethod as M};
use crate::tensor::Dtype;

/// Merges a tensor on a device, and returns its numbers.
pub(super) fn merge_tensor_on(
    device: &Device,
    method: M,
    work: &Work<'_>,
    twister: &mut Twister,
) -> Result<Vec<f32>, OpError> {
    let failed = |error: candle_core::Error| {
        let why = error.to_string().lines().next().unwrap_or_default().to_owned();
        OpError::new(format!("tensor `{}` on the device: {why}", work.name))
    };
    let on = On { device, work };
    let merged = match method {
        _ if work.count() == 0 => return Ok(Vec::new()),
        M::Ties
        | M::TaskArithmetic
        | M::DareLinear
        | M::DareTies
        | M::Breadcrumbs
        | M::BreadcrumbsTies
        | M::Della
        | M::DellaLinear => {
            let kept = on.kept(method, twister)?;
            on.task(method, &kept)
        }
        M::Multislerp => on.multislerp()?,
        M::ArceeFusion => on.fusion(twister),
        M::Linear => on.linear(),
        M::Slerp => on.slerp(),
        M::Nuslerp => on.nuslerp(),
        M::Karcher => on.karcher(),
        M::ModelStock => on.model_stock(),
        M::Sce => on.sce(),
        M::Ram | M::RamplusTl => on.ram(method == M::RamplusTl),
        M::Nearswap => on.nearswap(),
        M::Passthrough => on.passthrough(),
    };
    let numbers = merged.and_then(|tensor| tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>());
    numbers.map_err(failed)
}

/// Numbers that a device has merged.
pub(super) struct Merged(pub(super) Vec<f32>);

impl Each for Merged {
    fn numbers(&self, _work: &Work<'_>, from: usize, out: &mut [f32], _scratch: &mut Vec<f32>) {
        out.copy_from_slice(&self.0[from..from + out.len()]);
    }
}

/// Returns what is done to the numbers of a tensor that a device merges.
pub(super) fn prepare(device: &Device, method: M, work: &Work<'_>, twister: &mut Twister) -> Result<Combine, OpError> {
    Ok(Combine::Each(Box::new(Merged(merge_tensor_on(device, method, work, twister)?))))
}

/// A tensor and the device that merges it.
struct On<'a, 'b> {
    device: &'a Device,
    work: &'a Work<'b>,
}

impl On<'_, '_> {
    /// Brings numbers to the device, in the shape of the tensor.
    fn bring(&self, numbers: Vec<f32>) -> Done<Tensor> {
        Tensor::from_vec(numbers, self.work.shape, &Device::Cpu)?.to_device(self.device)
    }

    fn part(&self, i: usize) -> Done<Tensor> {
        let mut numbers = vec![0.0; self.work.count()];
        self.work.parts[i].read(0, &mut numbers);
        self.bring(numbers)
    }

    fn others(&self) -> Vec<usize> {
        self.work.others().map(|(i, _)| i).collect()
    }

    /// Rounds to the type of the tensors.
    fn r(&self, tensor: &Tensor) -> Done<Tensor> {
        match self.work.dtype {
            Dtype::F16 => tensor.to_dtype(DType::F16)?.to_dtype(DType::F32),
            Dtype::BF16 => tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32),
            // Nothing else is merged here: float64 has arithmetic of its own, whole numbers are copied.
            _ => Ok(tensor.clone()),
        }
    }

    /// Rounds a number to the type of the tensors.
    fn one(&self, number: f32) -> f32 {
        rounded(self.work.dtype, number)
    }

    /// Multiplies by a number, and rounds.
    fn times(&self, tensor: &Tensor, factor: f32) -> Done<Tensor> {
        self.r(&tensor.affine(f64::from(factor), 0.0)?)
    }

    /// Divides by a number, and rounds. A quotient is not the product with a reciprocal.
    fn over(&self, tensor: &Tensor, divisor: f32) -> Done<Tensor> {
        self.r(&tensor.broadcast_div(&Tensor::new(divisor, self.device)?)?)
    }

    /// Returns the difference of a part to the base, or the part where there is no base.
    fn difference(&self, i: usize) -> Done<Tensor> {
        match self.work.base {
            Some(base) => self.r(&(self.part(i)? - self.part(base)?)?),
            None => self.part(i),
        }
    }

    fn plus_base(&self, tensor: Tensor) -> Done<Tensor> {
        match self.work.base {
            Some(base) => self.r(&(self.part(base)? + tensor)?),
            None => Ok(tensor),
        }
    }

    fn number(&self, name: &str) -> f32 {
        self.work.shared.number(name) as f32
    }

    fn weights(&self, parts: &[usize], round: bool) -> Vec<f32> {
        let weight = |i: &usize| self.work.each[*i].number("weight") as f32;
        parts.iter().map(|i| if round { self.one(weight(i)) } else { weight(i) }).collect()
    }

    fn linear(&self) -> Done<Tensor> {
        let older = self.work.compat == Compat::Older;
        let parts: Vec<usize> = (0..self.work.parts.len()).collect();
        let weights = self.weights(&parts, older);
        let mut sum = self.part(0)?.zeros_like()?;
        for (i, weight) in parts.iter().zip(&weights) {
            let product = self.part(*i)?.affine(f64::from(*weight), 0.0)?;
            sum = (sum + if older { self.r(&product)? } else { product })?;
        }
        let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
        match (self.work.shared.flag("normalize"), older) {
            (false, _) => self.r(&sum),
            (true, true) => self.over(&self.r(&sum)?, self.one(total)),
            (true, false) => self.over(&sum, total),
        }
    }

    fn passthrough(&self) -> Done<Tensor> {
        match self.work.each[0].number("scale") {
            scale if scale.is_nan() => self.part(0),
            scale => self.times(&self.part(0)?, scale as f32),
        }
    }

    fn nearswap(&self) -> Done<Tensor> {
        let base = self.work.base.unwrap_or(0);
        let (a, b) = (self.part(base)?, self.part(1 - base)?);
        let distance = self.r(&(&a - &b)?)?.abs()?;
        let inverse = self.r(&distance.clamp(self.one(1e-6), f32::MAX)?.recip()?)?;
        let weight = self.times(&inverse, self.number("t"))?.clamp(0.0_f32, 1.0_f32)?;
        let other = self.r(&(&weight * b)?)?;
        let rest = self.r(&weight.affine(-1.0, 1.0)?)?;
        self.r(&(self.r(&(rest * a)?)? + other)?)
    }

    /// What is kept of each model's differences, as flags and factor.
    fn kept(&self, method: M, twister: &mut Twister) -> Result<Vec<(Vec<f32>, f32)>, OpError> {
        let others = self.others();
        others.iter().map(|i| Ok(sparsify::sparsify(method, self.work, *i, twister)?.all(self.work, *i))).collect()
    }

    fn task(&self, method: M, kept: &[(Vec<f32>, f32)]) -> Done<Tensor> {
        let parts = self.others();
        if parts.is_empty() {
            return self.part(self.work.base.unwrap_or(0));
        }
        let weights = self.weights(&parts, true);
        let mut weighted = Vec::new();
        for ((i, weight), (flags, factor)) in parts.iter().zip(&weights).zip(kept) {
            let kept = (self.difference(*i)? * self.bring(flags.clone())?)?;
            weighted.push(self.times(&self.times(&kept, *factor)?, *weight)?);
        }
        let total = self.one(weights.iter().fold(0.0, |sum, weight| sum + weight));
        let scalar = if total.abs() < 1e-8 { 1.0 } else { total };
        let (mixed, divisor) = if task::consensus(method) {
            self.agreed(&weighted, &weights)?
        } else {
            (self.r(&add(&weighted)?)?, weighted[0].zeros_like()?.affine(1.0, f64::from(scalar))?)
        };
        let mixed = if self.work.shared.flag("normalize") { self.r(&(mixed / divisor)?)? } else { mixed };
        self.plus_base(self.times(&mixed, self.number("lambda"))?)
    }

    /// Adds up what has the sign of the sum, and the weights of it.
    fn agreed(&self, weighted: &[Tensor], weights: &[f32]) -> Done<(Tensor, Tensor)> {
        let signs = self.r(&add(weighted)?)?.ge(0.0_f32)?.to_dtype(DType::F32)?.affine(2.0, -1.0)?;
        let (mut mixed, mut divisor) = (signs.zeros_like()?, signs.zeros_like()?);
        for (tensor, weight) in weighted.iter().zip(weights) {
            let agrees = (tensor * &signs)?.gt(0.0_f32)?.to_dtype(DType::F32)?;
            mixed = (mixed + (tensor * &agrees)?)?;
            divisor = (divisor + agrees.affine(f64::from(*weight), 0.0)?)?;
        }
        let divisor = self.r(&divisor)?;
        let none = divisor.eq(0.0_f32)?.to_dtype(DType::F32)?;
        Ok((self.r(&mixed)?, (divisor + none)?))
    }

    fn ram(&self, amplify: bool) -> Done<Tensor> {
        let Some(base) = self.work.base.filter(|_| self.work.parts.len() > 1) else { return self.part(0) };
        let wide = |tensor: Tensor| if amplify { Ok(tensor) } else { self.r(&tensor) };
        let mut own = Vec::new();
        for i in self.others() {
            let difference = self.difference(i)?;
            let there = difference.abs()?.gt(self.one(self.number("epsilon")))?.to_dtype(DType::F32)?;
            own.push((difference * there)?);
        }
        let there = own.iter().map(|own| own.ne(0.0_f32)?.to_dtype(DType::F32)).collect::<Done<Vec<_>>>()?;
        let count = add(&there)?;
        let alone = count.le(1.0_f32)?.to_dtype(DType::F32)?;
        let several = alone.affine(-1.0, 1.0)?;
        let most = count.clamp(1.0_f32, f32::MAX)?;
        let mut sum = count.zeros_like()?;
        for (own, there) in own.iter().zip(&there) {
            let averaged = (self.r(&(own / &most)?)? * &several)?;
            let factor = if amplify { self.factor(&(there * &alone)?, &(there * &several)?)? } else { 1.0 };
            let mine = (own * &alone)?.affine(f64::from(factor), 0.0)?;
            sum = (sum + wide((mine + averaged)?)?)?;
        }
        wide((self.part(base)? + wide(sum)?)?)
    }

    fn factor(&self, own: &Tensor, shared: &Tensor) -> Done<f32> {
        let ratio = total(shared)? / total(own)?.max(self.number("epsilon"));
        Ok(1.0 + self.number("r") * ratio.clamp(0.0, self.number("alpha").max(0.0)))
    }

    fn sce(&self) -> Done<Tensor> {
        let parts = self.others();
        let Some(base) = self.work.base.filter(|_| !parts.is_empty()) else { return self.part(0) };
        let flags = sce::kept(self.work).map(|flags| self.bring(flags)).transpose()?;
        let mut differences = parts.iter().map(|i| self.difference(*i)).collect::<Done<Vec<_>>>()?;
        for difference in &mut differences {
            if let Some(flags) = &flags {
                *difference = (&*difference * flags)?;
            }
        }
        let count = self.work.count() as f32;
        let energy = |difference: &Tensor| Ok(self.one(total(&self.r(&difference.sqr()?)?)? / count));
        let energies = differences.iter().map(energy).collect::<Done<Vec<f32>>>()?;
        let sum = self.one(energies.iter().fold(0.0, |sum, energy| sum + energy));
        let even = self.one(1.0 / parts.len() as f32);
        let weigh = |energy: &f32| if f64::from(sum.abs()) < 1e-6 { even } else { self.one(energy / sum) };
        let weights: Vec<f32> = energies.iter().map(weigh).collect();
        let signs = self.r(&add(&differences)?)?.ge(0.0_f32)?.to_dtype(DType::F32)?.affine(2.0, -1.0)?;
        let (mut merged, mut divisor) = (signs.zeros_like()?, signs.zeros_like()?);
        for (difference, weight) in differences.iter().zip(&weights) {
            let agrees = (difference * &signs)?.gt(0.0_f32)?.to_dtype(DType::F32)?;
            merged = (merged + self.times(&(difference * &agrees)?, *weight)?)?;
            divisor = (divisor + agrees.affine(f64::from(*weight), 0.0)?)?;
        }
        let divisor = self.r(&divisor)?.clamp(self.one(1e-6), f32::MAX)?;
        self.r(&(self.part(base)? + self.r(&(self.r(&merged)? / divisor)?)?)?)
    }
}

fn add(tensors: &[Tensor]) -> Done<Tensor> {
    let mut sum = tensors[0].clone();
    for tensor in &tensors[1..] {
        sum = (sum + tensor)?;
    }
    Ok(sum)
}

/// Returns the sum of all numbers.
fn total(tensor: &Tensor) -> Done<f32> {
    tensor.flatten_all()?.sum_all()?.to_vec0()
}

/// Returns the length of all numbers as one vector.
fn norm(tensor: &Tensor) -> Done<f32> {
    Ok(total(&tensor.sqr()?)?.sqrt())
}

/// Returns the angle's cosine as the CPU has it.
fn angle(cosine: f32) -> f32 {
    trig::acos(cosine)
}

#[cfg(test)]
mod tests;
