//! The small expression tree that answers are read into: what school mathematics writes, and no more.

use super::rational::Rat;

/// How two sides of a relation stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    /// The same relation read from the right.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }

    pub(crate) fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Eq => near(a, b),
            Self::Ne => !near(a, b),
            Self::Lt => a < b && !near(a, b),
            Self::Le => a < b || near(a, b),
            Self::Gt => a > b && !near(a, b),
            Self::Ge => a > b || near(a, b),
        }
    }
}

/// Equal but for the rounding of a few operations.
#[expect(clippy::float_cmp, reason = "infinities too")]
pub(crate) fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1e-3)
}

/// Sets that have a sign of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
    Empty,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    /// An exact number.
    Num(Rat),
    /// A number written with a decimal point: SymPy keeps these apart, and so do its verdicts.
    Dec(Rat),
    /// A percentage: the value is a hundredth of what is inside.
    Percent(Box<Expr>),
    Pi,
    E,
    Imaginary,
    Infinity,
    /// A variable, or a whole word from `\text{…}`.
    Sym(String),
    Add(Vec<Expr>),
    Mul(Vec<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    Func(String, Vec<Expr>),
    Matrix(Vec<Vec<Expr>>),
    Tuple(Vec<Expr>),
    /// A finite set in the order in which it was written.
    Set(Vec<Expr>),
    Interval {
        lo: Box<Expr>,
        hi: Box<Expr>,
        lo_open: bool,
        hi_open: bool,
    },
    Named(Named),
    Union(Box<Expr>, Box<Expr>),
    Intersection(Box<Expr>, Box<Expr>),
    Minus(Box<Expr>, Box<Expr>),
    /// `a < b ≤ c`: one operand more than signs.
    Relation(Vec<Expr>, Vec<Op>),
    /// A number with the base it is written in (`52_8`).
    Based(Box<Expr>, u32),
}

impl Expr {
    pub(crate) fn int(n: i128) -> Self {
        Self::Num(Rat::int(n))
    }

    pub(crate) fn is_set(&self) -> bool {
        matches!(
            self,
            Self::Set(_)
                | Self::Interval { .. }
                | Self::Named(_)
                | Self::Union(..)
                | Self::Intersection(..)
                | Self::Minus(..)
        )
    }

    pub(crate) fn is_collection(&self) -> bool {
        self.is_set() || matches!(self, Self::Tuple(_))
    }

    /// Whether arithmetic can be done with it.
    pub(crate) fn is_scalar(&self) -> bool {
        !self.is_collection() && !matches!(self, Self::Relation(..))
    }

    /// A sum or a multiple of matrices as one matrix.
    pub(crate) fn folded(self) -> Self {
        match self {
            Self::Mul(mut parts) if parts.iter().filter(|p| matches!(p, Self::Matrix(_))).count() == 1 => {
                let at = parts.iter().position(|p| matches!(p, Self::Matrix(_))).unwrap_or(0);
                let Self::Matrix(rows) = parts.remove(at) else { return Self::Mul(parts) };
                let scale = |entry: Self| Self::Mul(parts.iter().cloned().chain([entry]).collect());
                Self::Matrix(rows.into_iter().map(|row| row.into_iter().map(scale).collect()).collect())
            }
            Self::Add(parts) => {
                let parts: Vec<Self> = parts.into_iter().map(Self::folded).collect();
                let shape = |e: &Self| if let Self::Matrix(r) = e { Some((r.len(), r[0].len())) } else { None };
                let Some((rows, columns)) = shape(&parts[0]).filter(|s| parts.iter().all(|p| shape(p) == Some(*s)))
                else {
                    return Self::Add(parts);
                };
                let entry =
                    |e: &Self, i: usize, j: usize| if let Self::Matrix(r) = e { r[i][j].clone() } else { Self::int(0) };
                let sum = |i: usize, j: usize| Self::Add(parts.iter().map(|p| entry(p, i, j)).collect());
                Self::Matrix((0..rows).map(|i| (0..columns).map(|j| sum(i, j)).collect()).collect())
            }
            other => other,
        }
    }

    pub(crate) fn is_equation(&self) -> bool {
        matches!(self, Self::Relation(_, ops) if ops.iter().all(|op| *op == Op::Eq))
    }

    /// The number of a plain number.
    pub(crate) fn number(&self) -> Option<Rat> {
        match self {
            Self::Num(r) | Self::Dec(r) => Some(*r),
            Self::Based(inner, _) => inner.number(),
            _ => None,
        }
    }

    /// `-self`, folding numbers.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Num(r) if r.neg().is_some() => Self::Num(r.neg().unwrap_or(r)),
            Self::Dec(r) if r.neg().is_some() => Self::Dec(r.neg().unwrap_or(r)),
            other => Self::Mul(vec![Self::int(-1), other]),
        }
    }

    /// Whether nothing but letters occurs: such a left side makes an equation an assignment.
    pub(crate) fn only_symbols(&self) -> bool {
        match self {
            Self::Sym(_) => true,
            Self::Add(parts) | Self::Mul(parts) | Self::Tuple(parts) | Self::Func(_, parts) => {
                !parts.is_empty() && parts.iter().all(Self::only_symbols)
            }
            Self::Pow(base, exp) => base.only_symbols() && (**exp == Self::int(-1) || exp.only_symbols()),
            _ => false,
        }
    }

    /// The word that a product of letters spells, and that a text is.
    pub(crate) fn word(&self) -> Option<String> {
        match self {
            Self::Sym(name) => Some(name.to_lowercase()),
            Self::E => Some("e".to_owned()),
            Self::Imaginary => Some("i".to_owned()),
            Self::Mul(parts) => parts.iter().map(Self::word).collect::<Option<Vec<_>>>().map(|p| p.concat()),
            _ => None,
        }
    }
}
