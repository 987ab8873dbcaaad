//! Products of rows of numbers with matrices as they are stored.
//!
//! The weights of a model are read far more often than anything else, so they are read as they lie in the file, once for
//! all tokens of a step where there are few, and 16-bit numbers are widened in registers. With one token a product takes as
//! long as reading the matrix from memory takes; with hundreds it is bound by arithmetic.
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
mod lanes;
mod linear;
mod mix;
mod tile;

pub(super) use attend::{Attending, PAGE};
pub(super) use lanes::LANES;
pub(super) use linear::{StoredRows, linear};

use lanes::{Lanes, Plain};

/// Work that is compiled for each instruction set.
trait Work {
    /// # Safety
    /// The machine has the instructions of `L`.
    #[expect(unsafe_code, reason = "instructions that a machine lacks end the process")]
    unsafe fn run<L: Lanes>(self);
}

/// Runs work with the widest instructions that the machine has.
#[expect(unsafe_code, reason = "calling code for an instruction set needs the check that the machine has it")]
fn dispatch(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma,f16c")]
        unsafe fn avx512<W: Work>(work: W) {
            // SAFETY: the caller's promise.
            unsafe { work.run::<lanes::Avx512>() }
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2<W: Work>(work: W) {
            // SAFETY: the caller's promise.
            unsafe { work.run::<lanes::Avx2>() }
        }
        if has!("avx2") && has!("fma") && has!("f16c") {
            // SAFETY: the features were found on this machine.
            return unsafe { if has!("avx512f") && has!("avx512vl") { avx512(work) } else { avx2(work) } };
        }
    }
    // SAFETY: arrays need no instructions in particular.
    unsafe { work.run::<Plain<{ cfg!(target_arch = "aarch64") }>>() }
}
