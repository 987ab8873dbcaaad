//! Values of expressions in complex `f64`: for ordering set elements, and as the last resort of equality, at fixed points.

use super::{
    expr::{Expr, near},
    rational::Rat,
};

/// A complex number.
pub(crate) type Z = (f64, f64);

const UNDEFINED: Z = (f64::NAN, f64::NAN);

/// The value with every variable at the `point`-th of the fixed points; NaN where there is none.
pub(crate) fn value(e: &Expr, point: u32) -> Z {
    match e {
        Expr::Num(r) | Expr::Dec(r) => (r.as_f64(), 0.0),
        Expr::Based(inner, _) => value(inner, point),
        Expr::Percent(inner) => mul(value(inner, point), (0.01, 0.0)),
        Expr::Pi => (std::f64::consts::PI, 0.0),
        Expr::E => (std::f64::consts::E, 0.0),
        Expr::Imaginary => (0.0, 1.0),
        Expr::Infinity => (f64::INFINITY, 0.0),
        Expr::Sym(name) => (coordinate(name, point), 0.0),
        Expr::Add(parts) => parts.iter().map(|p| value(p, point)).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1)),
        Expr::Mul(parts) => parts.iter().map(|p| value(p, point)).fold((1.0, 0.0), mul),
        Expr::Pow(base, exp) => pow(value(base, point), value(exp, point)),
        Expr::Func(name, args) => function(name, &args.iter().map(|a| value(a, point)).collect::<Vec<_>>()),
        _ => UNDEFINED,
    }
}

/// The real value of an expression without variables.
pub(crate) fn real(e: &Expr) -> Option<f64> {
    if has_symbol(e) {
        return None;
    }
    let (re, im) = value(e, 0);
    (!re.is_nan() && im.abs() <= 1e-12 * re.abs().max(1.0)).then_some(re)
}

/// Whether any variable occurs.
pub(crate) fn has_symbol(e: &Expr) -> bool {
    match e {
        Expr::Add(p) | Expr::Mul(p) | Expr::Func(_, p) | Expr::Tuple(p) | Expr::Set(p) => p.iter().any(has_symbol),
        Expr::Pow(a, b) => has_symbol(a) || has_symbol(b),
        Expr::Percent(a) | Expr::Based(a, _) => has_symbol(a),
        Expr::Num(_) | Expr::Dec(_) | Expr::Pi | Expr::E | Expr::Imaginary | Expr::Infinity => false,
        _ => true,
    }
}

/// Whether both take the same value wherever both are defined among 12 fixed points, 6 of them at the least.
///
/// Two different elementary functions of the size of an answer do not agree at six unrelated points to eleven digits; where `f64`
/// cannot tell (huge values), the answer is no.
pub(crate) fn agree(a: &Expr, b: &Expr) -> bool {
    let points = if has_symbol(a) || has_symbol(b) { 12 } else { 1 };
    let mut defined = 0;
    for point in 0..points {
        let (x, y) = (value(a, point), value(b, point));
        let finite = |z: Z| z.0.is_finite() && z.1.is_finite();
        if finite(x) != finite(y) {
            return false;
        }
        if !finite(x) {
            continue;
        }
        let size = x.0.hypot(x.1);
        if size > 1e12 || (x.0 - y.0).hypot(x.1 - y.1) > 1e-11 * size.max(1e-3) {
            return false;
        }
        defined += 1;
    }
    defined >= points.min(6)
}

/// Where a variable stands at a point: real, of both signs, unrelated between names.
fn coordinate(name: &str, point: u32) -> f64 {
    let mut hash: u32 = 0x811c_9dc5 ^ point.wrapping_mul(0x9e37_79b9);
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    hash ^= hash >> 15;
    let spread = if point.is_multiple_of(2) { 5.0 } else { 40.0 };
    (f64::from(hash.wrapping_mul(0x2c1b_3c6d)) / f64::from(u32::MAX) - 0.5) * spread
}

fn mul(a: Z, b: Z) -> Z {
    if a.1 == 0.0 && b.1 == 0.0 {
        return (a.0 * b.0, 0.0);
    }
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn div(a: Z, b: Z) -> Z {
    let size = b.0 * b.0 + b.1 * b.1;
    if size == 0.0 {
        return UNDEFINED;
    }
    mul(a, (b.0 / size, -b.1 / size))
}

fn ln(a: Z) -> Z {
    if a == (0.0, 0.0) { UNDEFINED } else { (a.0.hypot(a.1).ln(), a.1.atan2(a.0)) }
}

fn exp(a: Z) -> Z {
    let size = a.0.exp();
    if a.1 == 0.0 { (size, 0.0) } else { (size * a.1.cos(), size * a.1.sin()) }
}

fn pow(base: Z, e: Z) -> Z {
    if e.1 == 0.0 && e.0.fract() == 0.0 && e.0.abs() <= 64.0 {
        let product = (0..e.0.abs() as u32).fold((1.0, 0.0), |acc, _| mul(acc, base));
        return if e.0 < 0.0 { div((1.0, 0.0), product) } else { product };
    }
    if base.1 == 0.0 && e.1 == 0.0 && base.0 >= 0.0 {
        return (base.0.powf(e.0), 0.0);
    }
    exp(mul(e, ln(base)))
}

fn function(name: &str, args: &[Z]) -> Z {
    let Some(&x) = args.first() else { return UNDEFINED };
    let (half, one) = ((0.5, 0.0), (1.0, 0.0));
    let turned = (-x.1, x.0);
    let add = |a: Z, b: Z| (a.0 + b.0, a.1 + b.1);
    let sub = |a: Z, b: Z| (a.0 - b.0, a.1 - b.1);
    let cosh = |z: Z| mul(half, add(exp(z), exp((-z.0, -z.1))));
    let sinh = |z: Z| mul(half, sub(exp(z), exp((-z.0, -z.1))));
    let sin = (x.0.sin() * x.1.cosh(), x.0.cos() * x.1.sinh());
    let cos = cosh(turned);
    match name {
        "sin" => sin,
        "cos" => cos,
        "tan" => div(sin, cos),
        "cot" => div(cos, sin),
        "sec" => div(one, cos),
        "csc" => div(one, sin),
        "sinh" => sinh(x),
        "cosh" => cosh(x),
        "tanh" => div(sinh(x), cosh(x)),
        "coth" => div(cosh(x), sinh(x)),
        "exp" => exp(x),
        "ln" => ln(x),
        "abs" => (x.0.hypot(x.1), 0.0),
        "log" | "lg" => div(ln(x), args.get(1).map_or((10_f64.ln(), 0.0), |b| ln(*b))),
        _ if x.1 == 0.0 => (real_function(name, x.0, args.get(1).filter(|y| y.1 == 0.0).map(|y| y.0)), 0.0),
        _ => UNDEFINED,
    }
}

fn real_function(name: &str, x: f64, y: Option<f64>) -> f64 {
    match (name, y) {
        ("arcsin", _) => x.asin(),
        ("arccos", _) => x.acos(),
        ("arctan", _) => x.atan(),
        ("arccot", _) => (1.0 / x).atan(),
        ("arcsec", _) => (1.0 / x).acos(),
        ("arccsc", _) => (1.0 / x).asin(),
        ("arsinh", _) => x.asinh(),
        ("arcosh", _) => x.acosh(),
        ("artanh", _) => x.atanh(),
        ("floor", _) => {
            if near(x, x.round()) {
                x.round()
            } else {
                x.floor()
            }
        }
        ("ceil", _) => {
            if near(x, x.round()) {
                x.round()
            } else {
                x.ceil()
            }
        }
        ("mod", Some(y)) => x.rem_euclid(y),
        ("max", Some(y)) => x.max(y),
        ("min", Some(y)) => x.min(y),
        _ => combinatorial(name, x, y).map_or(f64::NAN, Rat::as_f64),
    }
}

/// Factorials, binomials and divisors of whole numbers.
pub(crate) fn combinatorial(name: &str, x: f64, y: Option<f64>) -> Option<Rat> {
    let whole = |v: f64| (v.fract() == 0.0 && (0.0..=1e15).contains(&v)).then_some(v as i128);
    let n = whole(x)?;
    match (name, y) {
        ("factorial", _) if n <= 33 => (1..=n).try_fold(1_i128, i128::checked_mul).map(Rat::int),
        ("binom", Some(k)) => {
            let k = whole(k)?;
            if k > n {
                return Some(Rat::ZERO);
            }
            let k = k.min(n - k);
            if k > 200 {
                return None;
            }
            (0..k).try_fold(1_i128, |acc, i| Some(acc.checked_mul(n - i)? / (i + 1))).map(Rat::int)
        }
        ("gcd", Some(m)) => Some(Rat::int(divisor(n, whole(m)?))),
        ("lcm", Some(m)) => {
            let m = whole(m)?;
            Some(Rat::int(n.checked_mul(m)? / divisor(n, m).max(1)))
        }
        _ => None,
    }
}

fn divisor(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { divisor(b, a % b) }
}
