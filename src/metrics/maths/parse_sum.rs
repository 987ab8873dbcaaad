//! Arithmetic inside a formula: sums, products, signs, and factors side by side.

use super::{
    expr::Expr,
    lex::Tok,
    parse::{DEEPEST, LONGEST, Parser},
    parse_atom::{is_function, is_letter},
};

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut terms = vec![self.product(false)?];
        loop {
            if self.eat('+') {
                terms.push(self.product(false)?);
            } else if self.eat('-') {
                terms.push(self.product(false)?.negated());
            } else {
                break;
            }
        }
        self.depth -= 1;
        if terms.len() > 1 && !terms.iter().all(Expr::is_scalar) {
            return None;
        }
        if terms.len() == 1 { terms.pop() } else { Some(Expr::Add(terms)) }
    }

    pub(super) fn product(&mut self, argument: bool) -> Option<Expr> {
        let mut left = self.unary(argument)?;
        let mut chained = 0;
        loop {
            let scalar = left.is_scalar();
            if self.eat('*') || self.eat_cmd(&["cdot", "times", "ast"]) {
                left = times(left, self.factor(argument)?);
            } else if self.eat('/') || self.eat(':') || self.eat_cmd(&["div"]) {
                left = over(left, self.factor(argument)?)?;
            } else if chained < LONGEST && self.eat_cmd(&["mod"]) {
                chained += 1;
                left = Expr::Func("mod".to_owned(), vec![left, self.unary(argument)?]);
            } else {
                return Some(left);
            }
            if !scalar {
                return None;
            }
        }
    }

    fn factor(&mut self, argument: bool) -> Option<Expr> {
        self.unary(argument).filter(Expr::is_scalar)
    }

    fn unary(&mut self, argument: bool) -> Option<Expr> {
        let mut minus = false;
        loop {
            if self.eat('-') {
                minus = !minus;
            } else if !self.eat('+') {
                break;
            }
        }
        let value = self.juxtaposed(argument)?;
        if minus && !value.is_scalar() {
            return None;
        }
        Some(if minus { value.negated() } else { value })
    }

    /// Factors side by side; a whole number before a positive fraction is a mixed number.
    fn juxtaposed(&mut self, argument: bool) -> Option<Expr> {
        let mut factors = vec![(self.is_cmd(&["frac"]), self.postfix()?)];
        while self.starts_factor(argument) {
            factors.push((self.is_cmd(&["frac"]), self.postfix()?));
        }
        let (mut fraction, mut value) = factors.pop()?;
        while let Some((was_fraction, left)) = factors.pop() {
            if !left.is_scalar() || !value.is_scalar() {
                return None;
            }
            value = match (&left, &value) {
                (Expr::Num(a), Expr::Num(b))
                    if a.is_int() && b.num > 0 && (!self.dialect.human || (fraction && a.num > 0)) =>
                {
                    Expr::Num(a.add(*b)?)
                }
                _ => times(left, value),
            };
            fraction = was_fraction;
        }
        Some(value)
    }

    fn starts_factor(&self, argument: bool) -> bool {
        match self.peek() {
            Some(Tok::Num(_) | Tok::Letter(_) | Tok::Text(_) | Tok::Accent(_) | Tok::Begin(_)) => true,
            // In French `[` may close an interval.
            Some(Tok::Sign('[')) => !argument && !self.dialect.human,
            Some(Tok::Sign('(' | '{')) => !argument,
            Some(Tok::Sign('|')) => self.bars == 0 && !argument,
            Some(Tok::Cmd(name)) => match name.as_str() {
                "frac" | "sqrt" | "pi" | "infty" | "binom" | "lfloor" | "lceil" | "lbrace" => true,
                name if is_function(name) => !argument,
                name => is_letter(name),
            },
            _ => false,
        }
    }
}

/// `a·b`, kept flat.
pub(super) fn times(a: Expr, b: Expr) -> Expr {
    let mut parts = if let Expr::Mul(parts) = a { parts } else { vec![a] };
    if let Expr::Mul(more) = b {
        parts.extend(more);
    } else {
        parts.push(b);
    }
    Expr::Mul(parts)
}

/// `a/b`: exact where both are whole numbers.
pub(super) fn over(a: Expr, b: Expr) -> Option<Expr> {
    if let (Expr::Num(x), Expr::Num(y)) = (&a, &b)
        && x.is_int()
        && y.is_int()
    {
        return Some(Expr::Num(x.mul(y.inv()?)?));
    }
    Some(times(a, Expr::Pow(Box::new(b), Box::new(Expr::int(-1)))))
}
