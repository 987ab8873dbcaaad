//! Formulas: a descent over the tokens with the precedences of latex2sympy2_extended 1.0.6 (the parser behind lighteval), because
//! its verdicts are what users compare with. What has no value here (integrals, limits, sums) is not read.

use super::{
    expr::{Expr, Named, Op},
    lex::{Tok, tokens},
    rational::Rat,
};

/// No answer nests deeper; beyond it a formula is not read.
pub(super) const DEEPEST: usize = 60;

/// No answer chains more of the operators that nest to the left.
pub(super) const LONGEST: usize = 12;

/// How a formula is to be understood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dialect {
    /// `]a, b[` is an interval, `2(3)` a product, `i` the imaginary unit: what a reader sees rather than what latex2sympy does.
    pub human: bool,
}

/// Reads a formula, alone or as a list, set, interval, matrix or relation.
pub(crate) fn parse(source: &str, dialect: Dialect) -> Option<Expr> {
    if let Some(number) = grouped(source) {
        return Some(number);
    }
    let toks = tokens(source)?;
    let mut parser = Parser { toks: &toks, at: 0, depth: 0, bars: 0, dialect };
    let groups = parser.groups()?;
    (parser.at == toks.len()).then(|| listed(groups)).flatten().map(Expr::folded)
}

/// `-1,234,567.5`: commas between groups of three are no list when they are all there is.
fn grouped(source: &str) -> Option<Expr> {
    let text = source.trim();
    let (sign, body) = text.strip_prefix('-').map_or((false, text), |b| (true, b));
    let (whole, part) = body.split_once('.').map_or((body, None), |(w, p)| (w, Some(p)));
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let mut rest = groups.peekable();
    rest.peek()?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || first.len() > 3 || !rest.all(|g| digits(g) && g.len() == 3) || !part.is_none_or(digits) {
        return None;
    }
    let value = Rat::decimal(&body.replace(',', ""))?;
    let number = if part.is_some() { Expr::Dec(value) } else { Expr::Num(value) };
    Some(if sign { number.negated() } else { number })
}

/// A list at the top: one element is itself, several are a set, rows between semicolons are tuples.
fn listed(mut groups: Vec<Vec<Expr>>) -> Option<Expr> {
    if groups.len() == 1 {
        let mut only = groups.pop()?;
        return Some(if only.len() == 1 { only.pop()? } else { Expr::Set(only) });
    }
    if groups.iter().all(|g| g.len() == 1) {
        return Some(Expr::Set(groups.into_iter().flatten().collect()));
    }
    Some(Expr::Set(groups.into_iter().map(Expr::Tuple).collect()))
}

pub(super) struct Parser<'a> {
    pub(super) toks: &'a [Tok],
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Open `|`: inside them the next one closes.
    pub(super) bars: usize,
    pub(super) dialect: Dialect,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Tok> {
        self.toks.get(self.at)
    }

    pub(super) fn is(&self, c: char) -> bool {
        self.peek() == Some(&Tok::Sign(c))
    }

    pub(super) fn eat(&mut self, c: char) -> bool {
        let hit = self.is(c);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn is_cmd(&self, names: &[&str]) -> bool {
        matches!(self.peek(), Some(Tok::Cmd(name)) if names.contains(&name.as_str()))
    }

    pub(super) fn eat_cmd(&mut self, names: &[&str]) -> bool {
        let hit = self.is_cmd(names);
        self.at += usize::from(hit);
        hit
    }

    /// Elements between commas, groups of them between semicolons.
    pub(super) fn groups(&mut self) -> Option<Vec<Vec<Expr>>> {
        let mut groups = vec![Vec::new()];
        loop {
            let elements = self.element()?;
            groups.last_mut()?.extend(elements);
            if self.eat(';') {
                groups.push(Vec::new());
            } else if !self.eat(',') {
                break;
            }
        }
        // `x = 1, 2` assigns the list.
        if let [only] = groups.as_mut_slice()
            && only.len() > 1
            && only[1..].iter().all(|e| !matches!(e, Expr::Relation(..)))
            && let Expr::Relation(sides, ops) = &only[0]
            && matches!(ops.as_slice(), [Op::Eq])
            && sides[0].only_symbols()
        {
            let mut values = vec![sides[1].clone()];
            values.extend(only[1..].iter().cloned());
            *only = vec![Expr::Relation(vec![sides[0].clone(), Expr::Set(values)], vec![Op::Eq])];
        }
        Some(groups)
    }

    /// One element, or the two that `±` makes.
    fn element(&mut self) -> Option<Vec<Expr>> {
        if self.dialect.human && self.is_cmd(&["pm"]) {
            self.at += 1;
            let value = self.sum()?;
            return Some(vec![value.clone(), value.negated()]);
        }
        let first = self.relation()?;
        if self.eat_cmd(&["pm", "mp"]) {
            let spread = self.sum()?;
            let pair = |base: Expr| {
                vec![Expr::Add(vec![base.clone(), spread.clone()]), Expr::Add(vec![base, spread.clone().negated()])]
            };
            if let Expr::Relation(mut sides, ops) = first {
                let last = sides.pop()?;
                sides.push(Expr::Set(pair(last)));
                return Some(vec![Expr::Relation(sides, ops)]);
            }
            return Some(pair(first));
        }
        Some(vec![first])
    }

    fn relation(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut sides = vec![self.side()?];
        let mut ops = Vec::new();
        while let Some(op) = self.op() {
            let Some(op) = op else {
                // `x ≈ 3` is its value; of `a ≈ 3` the exact side stays.
                let right = self.side()?;
                if sides.last()?.only_symbols() {
                    *sides.last_mut()? = right;
                }
                continue;
            };
            ops.push(op);
            sides.push(self.side()?);
        }
        self.depth -= 1;
        if ops.is_empty() { sides.pop() } else { Some(Expr::Relation(sides, ops)) }
    }

    fn side(&mut self) -> Option<Expr> {
        if self.dialect.human && self.is_cmd(&["pm"]) {
            self.at += 1;
            let value = self.sum()?;
            return Some(Expr::Set(vec![value.clone(), value.negated()]));
        }
        let mut left = self.sum()?;
        let mut chained = 0;
        loop {
            let build: fn(Box<Expr>, Box<Expr>) -> Expr = if self.eat_cmd(&["cup"]) {
                Expr::Union
            } else if self.eat_cmd(&["cap"]) {
                Expr::Intersection
            } else if self.eat_cmd(&["setminus", "backslash"]) {
                Expr::Minus
            } else {
                return Some(left);
            };
            let right = self.sum()?;
            chained += 1;
            if chained > LONGEST {
                return None;
            }
            if !left.is_collection() || !right.is_collection() {
                return None;
            }
            left = build(Box::new(as_set(left)), Box::new(as_set(right)));
        }
    }

    /// The sign of a relation; inside, `None` is "approximately".
    #[expect(clippy::option_option, reason = "no sign, a sign without an exact meaning, a sign")]
    fn op(&mut self) -> Option<Option<Op>> {
        let found = match self.peek()? {
            Tok::Sign('=') => Some(Op::Eq),
            Tok::Sign('<') => Some(Op::Lt),
            Tok::Sign('>') => Some(Op::Gt),
            Tok::Cmd(name) => match name.as_str() {
                "in" | "equiv" => Some(Op::Eq),
                "neq" | "ne" => Some(Op::Ne),
                "lt" => Some(Op::Lt),
                "gt" => Some(Op::Gt),
                "le" | "leq" | "leqslant" => Some(Op::Le),
                "ge" | "geq" | "geqslant" => Some(Op::Ge),
                "approx" => None,
                _ => return None,
            },
            _ => return None,
        };
        self.at += 1;
        Some(found)
    }
}

/// A tuple beside `∪` can only be meant as a set.
fn as_set(value: Expr) -> Expr {
    if let Expr::Tuple(parts) = value { Expr::Set(parts) } else { value }
}

/// The set a name stands for.
pub(super) fn named(cmd: &str) -> Option<Named> {
    Some(match cmd {
        "mathbbN" => Named::Naturals,
        "mathbbZ" => Named::Integers,
        "mathbbQ" => Named::Rationals,
        "mathbbR" => Named::Reals,
        "mathbbC" => Named::Complexes,
        "emptyset" => Named::Empty,
        _ => return None,
    })
}
