//! What stands between brackets: groups, intervals, tuples, finite sets, absolute values, matrices.

use super::{
    expr::{Expr, Named},
    lex::Tok,
    numeric,
    parse::Parser,
};

impl Parser<'_> {
    pub(super) fn bracketed(&mut self, open: &Tok) -> Option<Expr> {
        self.at += 1;
        if *open == Tok::Sign('|') {
            self.bars += 1;
            let inner = self.sum()?;
            self.bars -= 1;
            return self.eat('|').then(|| Expr::Func("abs".to_owned(), vec![inner]));
        }
        if *open == Tok::Sign('{') {
            let inner = self.sum()?;
            return self.eat('}').then_some(inner);
        }
        let lo_open = *open != Tok::Sign('[');
        if *open == Tok::Sign(']') && !self.dialect.human {
            return None;
        }
        let groups = self.groups()?;
        let hi_open = if self.eat(')') {
            true
        } else if self.eat(']') {
            false
        } else if self.dialect.human && self.eat('[') {
            true
        } else {
            return None;
        };
        // In French a semicolon parts the ends of an interval.
        let semicolon = groups.len() > 1;
        let mut parts: Vec<Expr> = groups.into_iter().flatten().collect();
        let square = *open != Tok::Sign('(') || !hi_open;
        match parts.len() {
            1 if lo_open == hi_open && *open != Tok::Sign(']') => parts.pop(),
            1 => None,
            2 if !semicolon || (self.dialect.human && square) => {
                let hi = parts.pop()?;
                Some(interval(parts.pop()?, hi, lo_open, hi_open))
            }
            _ => Some(Expr::Tuple(parts)),
        }
    }

    pub(super) fn finite_set(&mut self) -> Option<Expr> {
        if self.eat_cmd(&["rbrace"]) {
            return Some(Expr::Named(Named::Empty));
        }
        let parts = self.groups()?.into_iter().flatten().collect();
        self.eat_cmd(&["rbrace"]).then_some(Expr::Set(parts))
    }

    pub(super) fn matrix(&mut self, name: &str) -> Option<Expr> {
        if name == "array" && self.eat('{') {
            while !self.eat('}') {
                self.peek()?;
                self.at += 1;
            }
        } else if !name.ends_with("matrix") {
            return None;
        }
        let mut rows = vec![Vec::new()];
        loop {
            if self.peek() == Some(&Tok::End(name.to_owned())) {
                self.at += 1;
                break;
            }
            rows.last_mut()?.push(self.sum()?);
            match self.peek()? {
                Tok::Sign('&') => self.at += 1,
                Tok::Row => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Tok::End(_) => {}
                _ => return None,
            }
        }
        rows.retain(|row| !row.is_empty());
        let width = rows.first()?.len();
        rows.iter().all(|row| row.len() == width).then_some(Expr::Matrix(rows))
    }
}

/// An interval; two ends that no interval has are a tuple, as in latex2sympy.
fn interval(lo: Expr, hi: Expr, lo_open: bool, hi_open: bool) -> Expr {
    if let (Some(a), Some(b)) = (numeric::real(&lo), numeric::real(&hi)) {
        if (lo_open && hi_open && b <= a) || (!lo_open && !hi_open && b < a) {
            return Expr::Tuple(vec![lo, hi]);
        }
        #[expect(clippy::float_cmp, reason = "the very same number")]
        if !lo_open && !hi_open && a == b {
            return Expr::Set(vec![lo]);
        }
    }
    Expr::Interval { lo: Box::new(lo), hi: Box::new(hi), lo_open, hi_open }
}
