//! Normal forms: a quotient of two polynomials with rational coefficients over variables, π, e, i and roots of primes.
//!
//! Powers of primes with exponents below one are linearly independent over the rationals (Besicovitch 1940), and π and e are
//! taken as unrelated to them, so two values are equal exactly when their cross products have the same terms. What does not
//! fit (nested roots, functions) becomes an atom known by its own form; a difference that still holds atoms proves nothing.

use std::collections::BTreeMap;

use super::{expr::Expr, numeric, rational::Rat};

/// Larger forms are not worked out.
const MOST_TERMS: usize = 300;
const MOST_POWER: i128 = 40;

/// What a term is a product of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gen {
    Prime(i128),
    Pi,
    E,
    Imaginary,
    Sym(String),
    Atom(String),
}

/// Generators with their exponents, each a reduced fraction.
type Mono = BTreeMap<Gen, (i128, i128)>;

/// A sum of terms; no coefficient is zero.
type Poly = BTreeMap<Mono, Rat>;

/// `top / bottom`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Form {
    top: Poly,
    bottom: Poly,
}

/// Whether two expressions have the same value; `None` where their forms cannot tell.
pub(crate) fn equal(a: &Expr, b: &Expr) -> Option<bool> {
    let (a, b) = (form(a)?, form(b)?);
    let left = multiply(&a.top, &b.bottom)?;
    let right = multiply(&b.top, &a.bottom)?;
    if left == right {
        return Some(true);
    }
    let exact = |p: &Poly| p.keys().flat_map(Mono::keys).all(|g| !matches!(g, Gen::Atom(_)));
    (exact(&left) && exact(&right)).then_some(false)
}

/// The number an expression comes to, if it comes to a rational one.
pub(crate) fn rational(e: &Expr) -> Option<Rat> {
    form(e)?.rational()
}

fn form(e: &Expr) -> Option<Form> {
    match e {
        Expr::Num(r) | Expr::Dec(r) => Some(Form::constant(*r)),
        Expr::Based(inner, _) => form(inner),
        Expr::Percent(inner) => form(inner)?.times(&Form::constant(Rat::new(1, 100)?)),
        Expr::Pi => Some(Form::generator(Gen::Pi)),
        Expr::E => Some(Form::generator(Gen::E)),
        Expr::Imaginary => Some(Form::generator(Gen::Imaginary)),
        Expr::Sym(name) => Some(Form::generator(Gen::Sym(name.clone()))),
        Expr::Add(parts) => parts.iter().try_fold(Form::constant(Rat::ZERO), |acc, p| acc.plus(&form(p)?)),
        Expr::Mul(parts) => parts.iter().try_fold(Form::constant(Rat::ONE), |acc, p| acc.times(&form(p)?)),
        Expr::Pow(base, exp) => power(&form(base)?, &form(exp)?),
        Expr::Func(name, args) => function(name, args),
        _ => None,
    }
}

fn function(name: &str, args: &[Expr]) -> Option<Form> {
    let forms = args.iter().map(form).collect::<Option<Vec<_>>>()?;
    let first = forms.first()?;
    if let Some(x) = first.rational() {
        let second = forms.get(1).and_then(Form::rational);
        match name {
            "abs" => return Some(Form::constant(if x.num < 0 { x.neg()? } else { x })),
            "floor" => return Some(Form::constant(Rat::int(x.floor()))),
            "ceil" => return Some(Form::constant(Rat::int(-x.neg()?.floor()))),
            "mod" if second.is_some_and(|m| m.is_int() && m.num > 0) && x.is_int() => {
                return Some(Form::constant(Rat::int(x.num.rem_euclid(second?.num))));
            }
            _ => {}
        }
        if let Some(value) = numeric::combinatorial(name, x.as_f64(), second.map(Rat::as_f64)) {
            return Some(Form::constant(value));
        }
    }
    if name == "exp" {
        return power(&Form::generator(Gen::E), first);
    }
    Some(Form::generator(Gen::Atom(format!("{name}{forms:?}"))))
}

fn power(base: &Form, exp: &Form) -> Option<Form> {
    let Some(e) = exp.rational() else { return Some(atom(base, exp)) };
    if e.is_int() {
        return base.to_power(e.num);
    }
    // Only positive factors may be drawn out of a root one by one.
    let (Some(top), Some(bottom)) = (single(&base.top), single(&base.bottom)) else { return Some(atom(base, exp)) };
    let coefficient = top.1.mul(bottom.1.inv()?)?;
    let mut mono = top.0.clone();
    for (g, (p, q)) in bottom.0 {
        raise(&mut mono, g.clone(), Rat::new(-p, *q)?)?;
    }
    let positive = mono.keys().all(|g| matches!(g, Gen::Pi | Gen::E | Gen::Prime(_)));
    let lone = coefficient.num > 0 && mono.len() == 1 && mono.values().next() == Some(&(1, 1));
    let imaginary = coefficient.num < 0;
    if !(positive || (lone && matches!(mono.keys().next(), Some(Gen::Sym(_))))) || (imaginary && e.den != 2) {
        return Some(atom(base, exp));
    }
    let mut out = Mono::new();
    for (g, (p, q)) in &mono {
        raise(&mut out, g.clone(), Rat::new(*p, *q)?.mul(e)?)?;
    }
    let Some(primes) = factors(coefficient) else { return Some(atom(base, exp)) };
    for (prime, count) in primes {
        raise(&mut out, Gen::Prime(prime), Rat::int(count).mul(e)?)?;
    }
    if imaginary {
        raise(&mut out, Gen::Imaginary, Rat::int(e.num))?;
    }
    let mut poly = Poly::new();
    put(&mut poly, out, Rat::ONE)?;
    Some(Form { top: poly, bottom: one() })
}

fn atom(base: &Form, exp: &Form) -> Form {
    Form::generator(Gen::Atom(format!("{base:?}^{exp:?}")))
}

/// The only term, where there is one.
fn single(p: &Poly) -> Option<(&Mono, Rat)> {
    (p.len() == 1).then(|| p.iter().next().map(|(m, c)| (m, *c))).flatten()
}

/// The primes of a fraction's absolute value with their exponents; `None` where the search would be long.
fn factors(r: Rat) -> Option<Vec<(i128, i128)>> {
    let mut out = Vec::new();
    for (mut n, sign) in [(r.num.checked_abs()?, 1), (r.den, -1)] {
        let mut p = 2;
        while p * p <= n && p < 20_000 {
            let mut count = 0;
            while n % p == 0 {
                n /= p;
                count += 1;
            }
            if count > 0 {
                out.push((p, sign * count));
            }
            p += 1;
        }
        if n > 1 {
            if p * p <= n {
                return None;
            }
            out.push((n, sign));
        }
    }
    Some(out)
}

fn raise(mono: &mut Mono, g: Gen, e: Rat) -> Option<()> {
    let old = mono.remove(&g).map_or(Some(Rat::ZERO), |(p, q)| Rat::new(p, q))?;
    let sum = old.add(e)?;
    if sum.num.unsigned_abs() > MOST_POWER.checked_mul(sum.den)?.unsigned_abs() {
        return None;
    }
    if !sum.is_zero() {
        mono.insert(g, (sum.num, sum.den));
    }
    Some(())
}

/// Adds a term, after drawing whole powers of primes and of `i²` into the coefficient.
fn put(poly: &mut Poly, mono: Mono, mut c: Rat) -> Option<()> {
    let mut reduced = Mono::new();
    for (g, (p, q)) in mono {
        match g {
            Gen::Prime(prime) => {
                let whole = p.div_euclid(q);
                c = c.mul(Rat::int(prime).pow(i32::try_from(whole).ok()?)?)?;
                if p != whole * q {
                    reduced.insert(g, (p - whole * q, q));
                }
            }
            Gen::Imaginary if q == 1 => {
                let turns = p.rem_euclid(4);
                if turns >= 2 {
                    c = c.neg()?;
                }
                if turns % 2 == 1 {
                    reduced.insert(g, (1, 1));
                }
            }
            other => {
                reduced.insert(other, (p, q));
            }
        }
    }
    let sum = poly.remove(&reduced).unwrap_or(Rat::ZERO).add(c)?;
    if !sum.is_zero() {
        poly.insert(reduced, sum);
    }
    (poly.len() <= MOST_TERMS).then_some(())
}

fn multiply(a: &Poly, b: &Poly) -> Option<Poly> {
    let mut out = Poly::new();
    for (m, c) in a {
        for (n, d) in b {
            let mut mono = m.clone();
            for (g, (p, q)) in n {
                raise(&mut mono, g.clone(), Rat::new(*p, *q)?)?;
            }
            put(&mut out, mono, c.mul(*d)?)?;
        }
    }
    Some(out)
}

fn one() -> Poly {
    Poly::from([(Mono::new(), Rat::ONE)])
}

impl Form {
    fn constant(r: Rat) -> Self {
        let top = if r.is_zero() { Poly::new() } else { Poly::from([(Mono::new(), r)]) };
        Self { top, bottom: one() }
    }

    fn generator(g: Gen) -> Self {
        Self { top: Poly::from([(Mono::from([(g, (1, 1))]), Rat::ONE)]), bottom: one() }
    }

    /// The number this form is, if it is one.
    fn rational(&self) -> Option<Rat> {
        let constant = |p: &Poly| match p.len() {
            0 => Some(Rat::ZERO),
            1 => p.get(&Mono::new()).copied(),
            _ => None,
        };
        constant(&self.top)?.mul(constant(&self.bottom)?.inv()?)
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        let mut top = multiply(&self.top, &other.bottom)?;
        for (mono, c) in multiply(&other.top, &self.bottom)? {
            put(&mut top, mono, c)?;
        }
        Some(Self { top, bottom: multiply(&self.bottom, &other.bottom)? }.tidy())
    }

    fn times(&self, other: &Self) -> Option<Self> {
        Some(Self { top: multiply(&self.top, &other.top)?, bottom: multiply(&self.bottom, &other.bottom)? }.tidy())
    }

    fn to_power(&self, n: i128) -> Option<Self> {
        if let Some(r) = self.rational() {
            return Some(Self::constant(r.pow(i32::try_from(n).ok()?)?));
        }
        if n.unsigned_abs() > MOST_POWER.unsigned_abs() {
            return None;
        }
        let base = if n < 0 { self.inverse()? } else { self.clone() };
        (0..n.abs()).try_fold(Self::constant(Rat::ONE), |acc, _| acc.times(&base))
    }

    fn inverse(&self) -> Option<Self> {
        (!self.top.is_empty()).then(|| Self { top: self.bottom.clone(), bottom: self.top.clone() })
    }

    /// A bottom of one term goes into the top, so that equal forms are written alike more often.
    fn tidy(self) -> Self {
        self.tidied().unwrap_or(self)
    }

    fn tidied(&self) -> Option<Self> {
        let (mono, c) = single(&self.bottom)?;
        if mono.is_empty() && c == Rat::ONE {
            return None;
        }
        let mut inverse = Mono::new();
        for (g, (p, q)) in mono {
            inverse.insert(g.clone(), (-p, *q));
        }
        let mut factor = Poly::new();
        put(&mut factor, inverse, c.inv()?)?;
        Some(Self { top: multiply(&self.top, &factor)?, bottom: one() })
    }
}
