//! Writing the tensors of a mixture of experts, piece by piece in MergeKit's order: noise is drawn on the way.

use rayon::prelude::*;

use super::super::normal::Random;
use super::super::{OpCx, OpError, Parent, unwritable};
use super::gates::Gates;
use super::weights::{From, Piece, Plan, Weights};
use crate::spec::params::MoeExpert;
use crate::tensor::{Dtype, ShardedWriter, View};

/// Numbers one thread converts at a time.
const PIECE: usize = 1 << 16;

/// Numbers between two looks at whether to stop.
const SEGMENT: usize = 1 << 22;

impl Weights<'_> {
    /// Writes all tensors; returns how many numbers there are.
    pub(super) fn write(
        &self,
        plan: &Plan,
        gates: &Gates,
        random: &mut Random,
        writer: &ShardedWriter,
        cx: &OpCx<'_>,
    ) -> Result<usize, OpError> {
        let total: usize = plan.declared.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        cx.progress.phase("merging", Some(total as u64), "parameters");
        let mut done = 0;
        for piece in &plan.pieces {
            cx.check_cancelled()?;
            let out = Out { writer, piece, dtype: self.dtype, name: &plan.declared[piece.tensor].name };
            let count = self.params.experts.len();
            done += match &piece.from {
                From::Zeros(count) => out.numbers(&vec![0.0; *count])?,
                From::Router(layer) => out.numbers(gates.of(*layer, 0..count))?,
                From::SharedRouter(layer) => out.numbers(gates.of(*layer, count..count + 1))?,
                From::Base(name) => self.copy(self.base, name, &out, cx)?,
                From::Expert(i, name, residual) => {
                    let settings = self.params.all_experts().nth(*i).map(|(_, expert)| expert);
                    match settings.filter(|it| it.noise_scale.is_some() || (*residual && it.residual_scale.is_some())) {
                        Some(settings) => {
                            out.numbers(&changed(&self.experts[*i], name, settings, *residual, random))?
                        }
                        None => self.copy(&self.experts[*i], name, &out, cx)?,
                    }
                }
            };
            cx.progress.position(done as u64);
        }
        Ok(total)
    }

    fn copy(&self, model: &Parent<'_>, name: &str, out: &Out<'_>, cx: &OpCx<'_>) -> Result<usize, OpError> {
        let missing = || OpError::new(format!("`{}` lacks tensor `{name}`", model.name));
        let view = model.tensors.get(name).ok_or_else(missing)?;
        for from in (0..view.count()).step_by(SEGMENT) {
            cx.check_cancelled()?;
            let to = view.count().min(from + SEGMENT);
            out.copy(&view, from, to)?;
            model.tensors.release(name, from, to);
        }
        Ok(view.count())
    }
}

/// Returns a tensor of an expert with noise and scale, rounded after every step to its own type as PyTorch does.
fn changed(model: &Parent<'_>, name: &str, expert: &MoeExpert, residual: bool, random: &mut Random) -> Vec<f32> {
    let Some(view) = model.tensors.get(name) else { return Vec::new() };
    let mut numbers = view.to_f32();
    model.tensors.release(name, 0, numbers.len());
    if let Some(scale) = expert.noise_scale {
        let mut noise = random.normal(view.dtype, numbers.len());
        noise.iter_mut().for_each(|number| *number *= scale as f32);
        view.dtype.round(&mut noise);
        numbers.iter_mut().zip(noise).for_each(|(number, noise)| *number += noise);
        view.dtype.round(&mut numbers);
    }
    if let Some(scale) = expert.residual_scale.filter(|_| residual) {
        numbers.iter_mut().for_each(|number| *number *= scale as f32);
        view.dtype.round(&mut numbers);
    }
    numbers
}

/// Where a piece is written.
struct Out<'a> {
    writer: &'a ShardedWriter,
    piece: &'a Piece,
    dtype: Dtype,
    name: &'a str,
}

impl Out<'_> {
    fn numbers(&self, numbers: &[f32]) -> Result<usize, OpError> {
        numbers.par_chunks(PIECE).enumerate().try_for_each(|(i, numbers)| self.write(i * PIECE, numbers))?;
        Ok(numbers.len())
    }

    /// Copies the numbers of a tensor; as bytes where nothing has to be converted.
    fn copy(&self, view: &View<'_>, from: usize, to: usize) -> Result<(), OpError> {
        if view.dtype == self.dtype {
            let at = (self.piece.start + from) * self.dtype.size();
            return self.writer.write_at(self.piece.tensor, at, view.slice(from, to - from)).map_err(unwritable);
        }
        (0..(to - from).div_ceil(PIECE)).into_par_iter().try_for_each(|i| {
            let start = from + i * PIECE;
            let mut numbers = vec![0.0; PIECE.min(to - start)];
            view.read_f32(start, &mut numbers);
            self.write(start, &numbers)
        })
    }

    fn write(&self, from: usize, numbers: &[f32]) -> Result<(), OpError> {
        if !numbers.iter().all(|number| self.dtype.holds(*number)) {
            let message =
                format!("tensor `{}` holds numbers that are infinite or undefined in {}", self.name, self.dtype);
            return Err(OpError::new(message).help("one of the models is broken, or its numbers are too large"));
        }
        let mut bytes = vec![0; numbers.len() * self.dtype.size()];
        self.dtype.write_f32(numbers, &mut bytes);
        let at = (self.piece.start + from) * self.dtype.size();
        self.writer.write_at(self.piece.tensor, at, &bytes).map_err(unwritable)
    }
}
