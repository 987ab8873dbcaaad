//! Products of rows of numbers with matrices as they are stored.
//!
//! The weights of a model are read far more often than anything else, so they are read as they lie in the file, once for
//! all tokens of a step where there are few, and 16-bit numbers are widened in registers, or once for all tokens where
//! there are many ([`strip`]). With one token a product takes as long as reading the matrix from memory takes; with
//! hundreds it is bound by arithmetic.
//!
//! The `gemm` crate, which training uses, sums in an order that depends on the shape of the product. Here a number comes
//! out the same whether a token is fed alone, with the tokens before it or beside other texts ([`tile`]).

/// Repeats a block for each number below a constant, at most eight. A loop would say the same, but the compiler gives up on
/// unrolling nested ones of this size, and then what should be in registers is in memory.
macro_rules! unroll {
    ($i:ident < $count:expr, $block:block) => {
        unroll!(@ $i, $count, $block, 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident, $count:expr, $block:block, $($number:literal)*) => {
        $(if $number < $count {
            let $i = $number;
            $block
        })*
    };
}

mod attend;
mod attention;
mod lanes;
mod linear;
mod mix;
mod strip;
mod target;
#[cfg(test)]
mod tests;
mod tile;

pub(super) use attend::PAGE;
pub(super) use attention::{Looking, NewTokens, attention};
pub(super) use lanes::LANES;
pub(super) use linear::{Layer, StoredRows, Then, linear};

use crate::model::Unit;
#[cfg(target_arch = "x86_64")]
use crate::model::UnitKind;
use lanes::{Lanes, Plain};

/// Work that is compiled for each instruction set.
trait Work {
    /// # Safety
    /// The machine has the instructions of `L`.
    #[expect(unsafe_code, reason = "instructions that a machine lacks end the process")]
    unsafe fn run<L: Lanes>(self);
}

/// Runs work with the instructions of a unit.
#[expect(
    unsafe_code,
    reason = "code for an instruction set is called, and a unit is the proof that the machine has it"
)]
fn dispatch(unit: Unit, work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        unsafe fn avx512<W: Work>(work: W) {
            // SAFETY: the caller's promise.
            unsafe { work.run::<lanes::Avx512>() }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2<W: Work>(work: W) {
            // SAFETY: the caller's promise.
            unsafe { work.run::<lanes::Avx2>() }
        }
        // SAFETY: a unit of a kind is only made where the machine was found to have its features.
        match unit.kind() {
            UnitKind::Avx512 => return unsafe { avx512(work) },
            UnitKind::Avx2 => return unsafe { avx2(work) },
            UnitKind::Portable => {}
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = unit;
    // SAFETY: arrays need no instructions in particular.
    unsafe { work.run::<Plain<{ cfg!(target_arch = "aarch64") }>>() }
}
