//! Sets, intervals and tuples: compared end by end, element by element, or by what they contain between all their ends.

use super::{
    equal::{Answer, Rules, same as same_value},
    expr::{Expr, Named, Op, near},
    normal, numeric,
};

/// Larger sets are not compared element by element.
const MOST: usize = 60;

pub(super) fn same(gold: &Expr, pred: &Expr, rules: Rules) -> Answer {
    if let (
        Expr::Interval { lo, hi, lo_open, hi_open },
        Expr::Interval { lo: plo, hi: phi, lo_open: plo_open, hi_open: phi_open },
    ) = (gold, pred)
    {
        // Infinite ends are open, however they are written.
        let open = |flag: bool, end: &Expr| flag || numeric::real(end).is_some_and(f64::is_infinite);
        return Ok(open(*lo_open, lo) == open(*plo_open, plo)
            && open(*hi_open, hi) == open(*phi_open, phi)
            && same_value(lo, plo, rules)?
            && same_value(hi, phi, rules)?);
    }
    if gold == pred || same_members(&lone(gold), &lone(pred)) {
        return Ok(true);
    }
    let pair = |e: &Expr| match e {
        Expr::Interval { lo, hi, lo_open: true, hi_open: true } => {
            Some(Expr::Tuple(vec![(**lo).clone(), (**hi).clone()]))
        }
        _ => None,
    };
    match (elements(gold), elements(pred)) {
        (Some(a), Some(b)) => lists(gold, &a, pred, &b, rules),
        (None, Some(b)) => {
            pair(gold).map_or(Ok(false), |g| lists(&g, &elements(&g).unwrap_or_default(), pred, &b, rules))
        }
        (Some(a), None) => {
            pair(pred).map_or(Ok(false), |p| lists(gold, &a, &p, &elements(&p).unwrap_or_default(), rules))
        }
        (None, None) => Ok(structure(gold, pred, rules)),
    }
}

/// A value that is no set, as the set of it.
fn lone(e: &Expr) -> Expr {
    if e.is_collection() { e.clone() } else { Expr::Set(vec![e.clone()]) }
}

/// The members of a finite set or tuple, each once in a set.
fn elements(e: &Expr) -> Option<Vec<Expr>> {
    match e {
        Expr::Tuple(parts) => Some(parts.clone()),
        Expr::Set(parts) => {
            let mut once: Vec<Expr> = Vec::new();
            for part in parts.iter().take(MOST + 1) {
                if !once.iter().any(|o| o == part || normal::equal(o, part) == Some(true)) {
                    once.push(part.clone());
                }
            }
            Some(once)
        }
        other if !other.is_collection() => Some(vec![other.clone()]),
        _ => None,
    }
}

/// A set's members in any order, a tuple's in the order written.
fn lists(gold: &Expr, a: &[Expr], pred: &Expr, b: &[Expr], rules: Rules) -> Answer {
    if a.len() != b.len() || a.len() > MOST {
        return Ok(false);
    }
    let tuple = |e: &Expr| matches!(e, Expr::Tuple(_));
    if tuple(gold) || (rules.human && tuple(pred)) {
        for (x, y) in a.iter().zip(b) {
            if !same_value(x, y, rules)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let mut left: Vec<&Expr> = b.iter().collect();
    for x in a {
        let Some(at) = left.iter().position(|y| same_value(x, y, rules).unwrap_or(false)) else { return Ok(false) };
        left.remove(at);
    }
    Ok(true)
}

/// Unions and differences written the same way.
fn structure(gold: &Expr, pred: &Expr, rules: Rules) -> bool {
    let equal = |a: &Expr, b: &Expr| same(a, b, rules).unwrap_or(false);
    match (gold, pred) {
        (Expr::Union(a, b), Expr::Union(c, d)) | (Expr::Intersection(a, b), Expr::Intersection(c, d)) => {
            (equal(a, c) && equal(b, d)) || (equal(a, d) && equal(b, c))
        }
        (Expr::Minus(a, b), Expr::Minus(c, d)) => equal(a, c) && equal(b, d),
        _ => gold == pred,
    }
}

/// Whether two sets of real numbers hold the same ones: both are asked at every end, between the ends and beyond.
fn same_members(a: &Expr, b: &Expr) -> bool {
    let mut ends = Vec::new();
    if !a.is_set() || !b.is_set() || !collect(a, &mut ends) || !collect(b, &mut ends) || ends.len() > 4 * MOST {
        return false;
    }
    ends.retain(|e| e.is_finite());
    ends.sort_by(f64::total_cmp);
    ends.dedup_by(|x, y| near(*x, *y));
    let mut probes = ends.clone();
    probes.extend(ends.windows(2).map(|w| f64::midpoint(w[0], w[1])));
    probes.push(ends.first().map_or(0.0, |e| e - 1.0));
    probes.push(ends.last().map_or(0.0, |e| e + 1.0));
    probes.into_iter().all(|x| holds(a, x) == holds(b, x))
}

/// The ends of a set of real numbers; false where it is not one.
fn collect(set: &Expr, ends: &mut Vec<f64>) -> bool {
    let mut add = |e: &Expr| numeric::real(e).map(|v| ends.push(v)).is_some();
    match set {
        Expr::Interval { lo, hi, .. } => add(lo) && add(hi),
        Expr::Set(parts) => parts.iter().all(add),
        Expr::Named(Named::Reals | Named::Empty) => true,
        Expr::Union(a, b) | Expr::Intersection(a, b) | Expr::Minus(a, b) => collect(a, ends) && collect(b, ends),
        _ => false,
    }
}

fn holds(set: &Expr, x: f64) -> bool {
    let at = |e: &Expr| numeric::real(e).unwrap_or(f64::NAN);
    match set {
        Expr::Interval { lo, hi, lo_open, hi_open } => {
            let (low, high) = (if *lo_open { Op::Lt } else { Op::Le }, if *hi_open { Op::Lt } else { Op::Le });
            low.holds(at(lo), x) && high.holds(x, at(hi))
        }
        Expr::Set(parts) => parts.iter().any(|p| near(at(p), x)),
        Expr::Named(name) => *name == Named::Reals,
        Expr::Union(a, b) => holds(a, x) || holds(b, x),
        Expr::Intersection(a, b) => holds(a, x) && holds(b, x),
        Expr::Minus(a, b) => holds(a, x) && !holds(b, x),
        _ => false,
    }
}

/// The real numbers that a relation between one variable and numbers leaves.
pub(super) fn of_relation(e: &Expr) -> Option<Expr> {
    let Expr::Relation(sides, ops) = e else { return None };
    let mut set: Option<Expr> = None;
    for (pair, op) in sides.windows(2).zip(ops) {
        let (bound, op) = match (&pair[0], &pair[1]) {
            (Expr::Sym(_), bound) if numeric::real(bound).is_some() => (bound, *op),
            (bound, Expr::Sym(_)) if numeric::real(bound).is_some() => (bound, op.flipped()),
            _ => return None,
        };
        let part = half_line(bound, op);
        set = Some(match set {
            Some(old) => Expr::Intersection(Box::new(old), Box::new(part)),
            None => part,
        });
    }
    set
}

fn half_line(bound: &Expr, op: Op) -> Expr {
    let bound = bound.clone();
    let (lo, hi) = match op {
        Op::Eq => return Expr::Set(vec![bound]),
        Op::Ne => {
            return Expr::Minus(Box::new(Expr::Named(Named::Reals)), Box::new(Expr::Set(vec![bound])));
        }
        Op::Lt | Op::Le => (Expr::Infinity.negated(), bound),
        Op::Gt | Op::Ge => (bound, Expr::Infinity),
    };
    let open = matches!(op, Op::Lt | Op::Gt);
    Expr::Interval { lo: Box::new(lo), hi: Box::new(hi), lo_open: open, hi_open: open }
}
