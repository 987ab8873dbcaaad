//! The merge methods, one file each: what has to be known about a whole tensor before its numbers can be merged.
//!
//! The arithmetic is that of MergeKit 0.1.5 on a CPU with one thread: the same operations in the same order, each result
//! rounded to the type of the tensors, because that is what PyTorch does with 16-bit types.

pub(super) mod arcee_fusion;
mod array;
mod karcher;
mod linear;
mod model_stock;
pub(super) mod multislerp;
pub(super) mod nearswap;
pub(super) mod nuslerp;
pub(super) mod ram;
pub(super) mod sce;
mod select;
mod short;
pub(super) mod slerp;
pub(super) mod sparsify;
pub(super) mod task;

use super::OpError;
use super::combine::Combine;
use super::part::Work;
use super::twister::Twister;
use crate::spec::params::MergeMethod as M;

/// Returns what is done to the numbers of a tensor.
pub(super) fn prepare(method: M, work: &Work<'_>, twister: &mut Twister) -> Result<Combine, OpError> {
    if work.count() == 0 || work.copied {
        return Ok(Combine::Copy(0));
    }
    Ok(match method {
        M::Linear => linear::prepare(work)?,
        M::Slerp => slerp::prepare(work),
        M::Nuslerp => nuslerp::prepare(work),
        M::Multislerp => multislerp::prepare(work)?,
        M::Karcher => karcher::prepare(work),
        M::ModelStock => model_stock::prepare(work),
        M::Sce => sce::prepare(work),
        M::Ram | M::RamplusTl => ram::prepare(work, method == M::RamplusTl),
        M::Nearswap => Combine::Near(nearswap::Near::of(work)),
        M::ArceeFusion => arcee_fusion::prepare(work, twister),
        M::Passthrough => match work.each[0].number("scale") {
            scale if scale.is_nan() => Combine::Copy(0),
            scale => Combine::Scale(scale as f32),
        },
        _ => task::prepare(method, work, twister)?,
    })
}
