//! Whether two answers are the same, in the order of questions of lighteval 0.10.0's `sympy_expr_eq`: assignments unwrapped, then
//! relations, sets, words, rounded decimals, and last the difference that should be nothing.

use super::{
    Profile,
    expr::{Expr, Op},
    normal, numeric,
    rational::Rat,
    sets,
};

/// What the profiles do differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The prediction stands where the reference should.
    swapped: bool,
    /// Decimals that two numbers share; `None`: a comparison that would round fails altogether.
    places: Option<u32>,
    /// Relations and sets stand for each other in both directions, bases count.
    pub(super) human: bool,
}

/// A comparison that needed a precision and had none.
#[derive(Debug)]
pub(crate) struct Unrounded;

pub(super) type Answer = Result<bool, Unrounded>;

impl Rules {
    pub(crate) fn of(profile: Profile) -> Self {
        Self {
            swapped: matches!(profile, Profile::Luth | Profile::Lighteval),
            places: (profile != Profile::Luth).then_some(6),
            human: profile == Profile::Native,
        }
    }
}

/// Whether the prediction is the reference.
pub(crate) fn matches(gold: &Expr, pred: &Expr, rules: Rules) -> bool {
    let (left, right) = if rules.swapped { (pred, gold) } else { (gold, pred) };
    same(left, right, rules).unwrap_or(false)
}

pub(super) fn same(gold: &Expr, pred: &Expr, rules: Rules) -> Answer {
    let gold = if assigns(gold) && !pred.is_equation() { last_side(gold) } else { gold };
    let pred = if pred.is_equation() && !gold.is_equation() { last_side(pred) } else { pred };
    if let Some(set) = sets::of_relation(gold).filter(|_| pred.is_set()) {
        return sets::same(&set, pred, rules);
    }
    if let Some(set) = sets::of_relation(pred).filter(|_| rules.human && gold.is_set()) {
        return sets::same(gold, &set, rules);
    }
    if alike(gold, pred, rules) {
        return Ok(true);
    }
    match (gold, pred) {
        (Expr::Relation(a, aops), Expr::Relation(b, bops)) => Ok(relations((a, aops), (b, bops), rules)),
        _ if gold.is_collection() || pred.is_collection() => sets::same(gold, pred, rules),
        (Expr::Relation(..), _) | (_, Expr::Relation(..)) => Ok(false),
        (Expr::Sym(_), _) | (_, Expr::Sym(_)) => Ok(words(gold, pred, rules)),
        _ => Ok(values(gold, pred, rules)? || vanishes(gold, pred)),
    }
}

/// `x = …`, where the left side is nothing but letters.
fn assigns(e: &Expr) -> bool {
    matches!(e, Expr::Relation(sides, _) if e.is_equation() && sides[0].only_symbols())
}

fn last_side(e: &Expr) -> &Expr {
    match e {
        Expr::Relation(sides, _) => sides.last().unwrap_or(e),
        other => other,
    }
}

/// Equal without rounding; a number with a decimal point is never one without.
fn alike(a: &Expr, b: &Expr, rules: Rules) -> bool {
    if rules.human
        && let (Expr::Based(_, x), Expr::Based(_, y)) = (a, b)
        && x != y
    {
        return false;
    }
    // Of the numbers with a decimal point, nought alone equals its whole twin.
    let nought = |e: &Expr| e.number().is_some_and(Rat::is_zero);
    a == b || (nought(a) && nought(b)) || (decimal(a) == decimal(b) && normal::equal(a, b) == Some(true))
}

fn decimal(e: &Expr) -> bool {
    match e {
        Expr::Dec(_) => true,
        Expr::Percent(inner) | Expr::Based(inner, _) => decimal(inner),
        Expr::Add(p) | Expr::Mul(p) | Expr::Func(_, p) => p.iter().any(decimal),
        Expr::Pow(a, b) => decimal(a) || decimal(b),
        _ => false,
    }
}

type Chain<'a> = (&'a [Expr], &'a [Op]);

fn relations((a, aops): Chain, (b, bops): Chain, rules: Rules) -> bool {
    if aops.len() != bops.len() {
        return false;
    }
    let pairs = |sides: &'_ [Expr]| sides.windows(2).map(<[Expr]>::to_vec).collect::<Vec<_>>();
    let straight = pairs(a)
        .iter()
        .zip(aops)
        .zip(pairs(b).iter().zip(bops))
        .all(|((x, xop), (y, yop))| relation((x, *xop), (y, *yop), rules));
    let backwards = || {
        let (b, bops): (Vec<Expr>, Vec<Op>) =
            (b.iter().rev().cloned().collect(), bops.iter().rev().map(|op| op.flipped()).collect());
        a.len() > 2
            && pairs(a)
                .iter()
                .zip(aops)
                .zip(pairs(&b).iter().zip(&bops))
                .all(|((x, xop), (y, yop))| relation((x, *xop), (y, *yop), rules))
    };
    straight || backwards()
}

/// `a < b` and `c < d` are the same when the differences are; `b > a` says it too.
fn relation((x, xop): (&[Expr], Op), (y, yop): (&[Expr], Op), rules: Rules) -> bool {
    let equal = |a: &Expr, b: &Expr| same(a, b, rules).unwrap_or(false);
    if x.iter().chain(y).any(Expr::is_collection) {
        return xop == yop && equal(&x[0], &y[0]) && equal(&x[1], &y[1]);
    }
    let minus = |a: &Expr, b: &Expr| Expr::Add(vec![a.clone(), b.clone().negated()]);
    let left = minus(&x[0], &x[1]);
    (xop == yop && equal(&left, &minus(&y[0], &y[1])))
        || (xop == yop.flipped() && equal(&left, &minus(&y[1], &y[0])))
        || (rules.human && xop == Op::Eq && yop == Op::Eq && proportional(&left, &minus(&y[0], &y[1])))
}

/// Two equations are the same line when one is a multiple of the other.
fn proportional(a: &Expr, b: &Expr) -> bool {
    let at = |e: &Expr, point| numeric::value(e, point).0;
    if !numeric::has_symbol(a) || !numeric::has_symbol(b) {
        return false;
    }
    let (x, y) = (at(a, 0), at(b, 0));
    let close = |factor: f64| (factor * 720.0 - (factor * 720.0).round()).abs() < 1e-7 && factor.abs() > 1e-3;
    if !(x / y).is_finite() || !close(x / y) {
        return false;
    }
    let Some(factor) = Rat::new((x / y * 720.0).round() as i128, 720) else { return false };
    normal::equal(a, &Expr::Mul(vec![Expr::Num(factor), b.clone()])) == Some(true)
}

/// A text and the letters of a formula that spell it.
fn words(a: &Expr, b: &Expr, rules: Rules) -> bool {
    match (a, b) {
        (Expr::Sym(x), Expr::Sym(y)) => x == y || (rules.human && x.to_lowercase() == y.to_lowercase()),
        _ => a.word().is_some_and(|w| b.word() == Some(w)),
    }
}

/// A plain number, perhaps with a percent sign.
fn atomic(e: &Expr, is: fn(&Expr) -> bool) -> bool {
    is(e) || matches!(e, Expr::Percent(inner) if is(inner))
}

fn values(a: &Expr, b: &Expr, rules: Rules) -> Answer {
    if let (Expr::Matrix(x), Expr::Matrix(y)) = (a, b) {
        if x.len() != y.len() || x[0].len() != y[0].len() {
            return Ok(false);
        }
        for (p, q) in x.iter().flatten().zip(y.iter().flatten()) {
            if !values(p, q, rules)? && !vanishes(p, q) {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let plain = |e: &Expr| e.number().is_some();
    let point = |e: &Expr| matches!(e, Expr::Dec(_));
    if (atomic(a, plain) || atomic(b, plain)) && (atomic(a, point) || atomic(b, point)) {
        let (Some(x), Some(y)) = (normal::rational(a), normal::rational(b)) else { return Ok(false) };
        let places = rules.places.ok_or(Unrounded)?;
        return Ok(x.rounded(places).is_some_and(|r| y.rounded(places) == Some(r)));
    }
    Ok(alike(a, b, rules))
}

/// Whether `a - b` is nothing: proved by the normal form, or seen at fixed points where functions leave it nothing to say.
fn vanishes(a: &Expr, b: &Expr) -> bool {
    if let (Expr::Based(_, x), Expr::Based(_, y)) = (a, b)
        && x != y
    {
        return false;
    }
    normal::equal(a, b).unwrap_or_else(|| numeric::agree(a, b))
}
