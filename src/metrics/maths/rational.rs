//! Exact fractions over `i128`: every operation says `None` instead of overflowing, so that a verdict never rests on a wrapped number.

use std::cmp::Ordering;

/// A reduced fraction with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rat {
    pub num: i128,
    pub den: i128,
}

impl Rat {
    pub(crate) const ZERO: Self = Self { num: 0, den: 1 };
    pub(crate) const ONE: Self = Self { num: 1, den: 1 };

    pub(crate) const fn int(n: i128) -> Self {
        Self { num: n, den: 1 }
    }

    /// `num / den`, reduced; `None` for a zero denominator or the one number that has no negative.
    pub(crate) fn new(num: i128, den: i128) -> Option<Self> {
        let g = i128::try_from(gcd(num.unsigned_abs(), den.unsigned_abs())).ok()?;
        if den == 0 || g == 0 {
            return None;
        }
        let sign = den.signum();
        Some(Self { num: (num / g).checked_mul(sign)?, den: (den / g).checked_mul(sign)? })
    }

    /// Reads `12`, `12.5` or `.5` exactly.
    pub(crate) fn decimal(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if whole.len() + part.len() > 36 {
            return None;
        }
        let digits: i128 = format!("0{whole}{part}").parse().ok()?;
        Self::new(digits, 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?)
    }

    pub(crate) fn is_int(self) -> bool {
        self.den == 1
    }

    pub(crate) fn is_zero(self) -> bool {
        self.num == 0
    }

    pub(crate) fn neg(self) -> Option<Self> {
        Some(Self { num: self.num.checked_neg()?, den: self.den })
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let left = self.num.checked_mul(other.den)?;
        let right = other.num.checked_mul(self.den)?;
        Self::new(left.checked_add(right)?, self.den.checked_mul(other.den)?)
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?)
    }

    pub(crate) fn inv(self) -> Option<Self> {
        Self::new(self.den, self.num)
    }

    pub(crate) fn pow(self, n: i32) -> Option<Self> {
        let base = if n < 0 { self.inv()? } else { self };
        let n = n.unsigned_abs();
        Self::new(base.num.checked_pow(n)?, base.den.checked_pow(n)?)
    }

    pub(crate) fn floor(self) -> i128 {
        self.num.div_euclid(self.den)
    }

    pub(crate) fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// The nearest multiple of `10^-places`, in these multiples, halves to even.
    pub(crate) fn rounded(self, places: u32) -> Option<i128> {
        let scaled = self.num.checked_mul(10_i128.checked_pow(places)?)?;
        let (floor, rest) = (scaled.div_euclid(self.den), scaled.rem_euclid(self.den));
        Some(match rest.checked_mul(2)?.cmp(&self.den) {
            Ordering::Less => floor,
            Ordering::Greater => floor + 1,
            Ordering::Equal => floor + floor.rem_euclid(2),
        })
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
