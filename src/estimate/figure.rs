//! A number that is known, rests on an assumption, or is not known.
//!
//! The three are kept apart through all arithmetic, so that no made-up number ever looks like a fact: what is computed from
//! something assumed is assumed, and what is computed from something unknown is unknown.

use std::iter::Sum;
use std::ops::{Add, Mul};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A number of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Figure {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// Counted, measured or written down somewhere.
    Known(f64),
    /// It rests on an assumption.
    Assumed(f64),
}

impl Figure {
    /// Nothing at all, which is known.
    pub const ZERO: Self = Self::Known(0.0);

    /// Returns the number, if there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::Known(value) | Self::Assumed(value) => Some(value),
        }
    }

    /// Says whether there is no number.
    pub fn is_unknown(self) -> bool {
        self == Self::Unknown
    }

    /// Returns the same number as one that rests on an assumption.
    #[must_use]
    pub fn assumed(self) -> Self {
        self.value().map_or(Self::Unknown, Self::Assumed)
    }

    /// Returns what a function makes of the number.
    #[must_use]
    pub fn map(self, make: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Known(value) => Self::Known(make(value)),
            Self::Assumed(value) => Self::Assumed(make(value)),
        }
    }

    /// Returns what a function makes of two numbers.
    #[must_use]
    pub fn with(self, other: Self, make: impl Fn(f64, f64) -> f64) -> Self {
        let (Some(one), Some(two)) = (self.value(), other.value()) else { return Self::Unknown };
        let made = make(one, two);
        match (self, other) {
            (Self::Known(_), Self::Known(_)) => Self::Known(made),
            _ => Self::Assumed(made),
        }
    }

    /// Returns this number, or the other where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_unknown() { other } else { self }
    }

    /// Returns the number, at most so much.
    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        // What is cut off was there for certain only if it was known.
        self.map(|value| value.min(most))
    }
}

impl From<Option<f64>> for Figure {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Unknown, Self::Known)
    }
}

impl Add for Figure {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, |one, two| one + two)
    }
}

impl Mul<f64> for Figure {
    type Output = Self;

    fn mul(self, by: f64) -> Self {
        self.map(|value| value * by)
    }
}

impl Sum for Figure {
    fn sum<I: Iterator<Item = Self>>(figures: I) -> Self {
        figures.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = self.value() else { return serializer.serialize_none() };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("value", &value)?;
        map.serialize_entry("assumed", &matches!(self, Self::Assumed(_)))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_on_an_assumption_stays_marked_and_what_is_unknown_stays_unknown() {
        let (known, assumed) = (Figure::Known(2.0), Figure::Assumed(3.0));
        assert_eq!(known + known, Figure::Known(4.0));
        assert_eq!(known + assumed, Figure::Assumed(5.0));
        assert_eq!(assumed * 2.0, Figure::Assumed(6.0));
        assert_eq!([known, assumed, Figure::Unknown].into_iter().sum::<Figure>(), Figure::Unknown);
        assert_eq!(Figure::Unknown.or(known), known);
        assert_eq!(
            serde_json::to_string(&[assumed, Figure::Unknown]).unwrap(),
            r#"[{"value":3.0,"assumed":true},null]"#
        );
    }
}
