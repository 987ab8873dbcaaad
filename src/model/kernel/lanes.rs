//! Loops that the compiler turns into vector instructions, and the sums that stay the same whichever it picks.
//!
//! A binary built for any x86-64 may only use SSE2 unless a function says otherwise, and [`vectorised!`] is the one place
//! that says otherwise: it makes one function for each kind of [`Unit`] from one body. It is a macro because nothing weaker
//! holds. A closure handed to such a function was inlined into it while it had one caller; called from two places it was
//! compiled apart, for SSE2, and nobody was told. The helpers are `inline(always)` for the same reason.
//!
//! No unit changes a bit: Rust never contracts `a * b + c` by itself, and sums have their own lanes.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]

/// Partial sums kept side by side.
pub(crate) const LANES: usize = 16;

/// Instructions that this machine was found to have. That is why a value of it is all that [`vectorised!`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit(Kind);

/// The instruction sets that code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// AVX-512 (F, BW, DQ and VL), and what [`Kind::Avx2`] says.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every machine of the architecture has.
    Portable,
}

impl Unit {
    /// Returns the widest unit.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") && has!("f16c") {
                let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
                return Self(if wide { Kind::Avx512 } else { Kind::Avx2 });
            }
        }
        Self(Kind::Portable)
    }

    /// Returns all units, the widest first.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let best = Self::best();
        let mut all = vec![best];
        #[cfg(target_arch = "x86_64")]
        if best.0 == Kind::Avx512 {
            all.push(Self(Kind::Avx2));
        }
        if best.0 != Kind::Portable {
            all.push(Self(Kind::Portable));
        }
        all
    }

    /// Returns which one it is.
    pub(crate) fn kind(self) -> Kind {
        self.0
    }
}

/// Defines a function that is compiled for each kind of [`Unit`], one of which it gets before its other arguments.
///
/// Call it inside a parallel task, not around one: what is handed to other threads is compiled apart. The same holds for
/// closures, unless they are small; the functions it calls are `inline(always)`.
macro_rules! vectorised {
    ($(#[$about:meta])* $vis:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$about])*
        #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calling code for an instruction set"))]
        $vis fn $name(unit: $crate::model::Unit, $($argument: $type),*) $(-> $out)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512($($argument: $type),*) $(-> $out)? {
                    portable($($argument),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($argument: $type),*) $(-> $out)? {
                    portable($($argument),*)
                }
                match unit.kind() {
                    // SAFETY: a unit of this kind is only made where the machine was found to have the features.
                    $crate::model::UnitKind::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::model::UnitKind::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::model::UnitKind::Portable => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = unit;
            portable($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// Adds up lanes as a balanced tree.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Returns the sum of `a[i] * b[i]`; both are of the same length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    sum_lanes(lanes) + rest
}

/// Returns the largest number of a slice, minus infinity for an empty one.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    lanes.into_iter().fold(rest, larger)
}

/// `f32::max` has rules for NaN that cost it its vector instruction. A NaN is found where the loss is checked.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Replaces each value by `exp(scale * value - shift)` and returns the sum of the results.
#[inline(always)]
pub(crate) fn exp_sum(values: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = values.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for i in 0..LANES {
            chunk[i] = exp(scale * chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    let mut rest = 0.0;
    for value in chunks.into_remainder() {
        *value = exp(scale * *value - shift);
        rest += *value;
    }
    sum_lanes(lanes) + rest
}

/// Returns `e` to the power `x` with a relative error below 3e-7, without a call, so that loops over it vectorise.
///
/// `x = n ln 2 + r` with whole `n`; `exp(r)` is its Taylor series to the seventh power, whose remainder on `|r| <= ln 2 / 2`
/// is 5e-9, and `2^n` goes into the exponent bits. Below -87 the result stays at about 1e-38, above 88 at about 1e38.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts: the first has trailing zero bits, so that `n * HIGH` is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail))));
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(power)
}

/// Returns `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Unit;

    /// Returns numbers between -1 and 1.
    pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// Returns what all units make of the same, bit for bit.
    pub(crate) fn on_all_units(run: impl Fn(Unit) -> Vec<f32>) -> Vec<f32> {
        let all: Vec<Vec<f32>> = Unit::all().into_iter().map(run).collect();
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(all.iter().all(|other| bits(other) == bits(&all[0])), "vector units differ");
        all.into_iter().next().unwrap()
    }

    /// Panics unless numbers are as close as f32 sums of a few hundred of them are.
    pub(crate) fn assert_close(found: &[f32], exact: &[f64]) {
        assert_eq!(found.len(), exact.len());
        for (i, (x, y)) in found.iter().zip(exact).enumerate() {
            assert!((f64::from(*x) - y).abs() <= 1e-5 * y.abs().max(1.0), "{x} instead of {y} at {i}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let worst = (-86_000..=88_000)
            .map(|i| i as f32 / 1000.0)
            .map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "relative error {worst}");
        assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY).is_finite() && exp(f32::NAN).is_nan());
    }

    vectorised! {
        /// Returns all that sums something.
        fn sums(values: &[f32]) -> (f32, f32, f32) {
            (dot(values, values), max(values), exp_sum(&mut values.to_vec(), 0.7, 0.1))
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_instruction_set() {
        for count in [0, 1, 15, 16, 17, 1003] {
            let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1000) as f32 / 997.0 - 0.4).collect();
            let [first, others @ ..] = &Unit::all().into_iter().map(|unit| sums(unit, &values)).collect::<Vec<_>>()[..]
            else {
                unreachable!("there is always a unit")
            };
            assert!(others.iter().all(|other| other == first), "{count} numbers");
            let exact: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            assert!((f64::from(first.0) - exact).abs() <= 1e-6 * exact);
        }
    }
}
