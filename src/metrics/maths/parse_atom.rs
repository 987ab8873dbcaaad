//! The smallest parts of a formula: numbers, letters, brackets, fractions, roots, functions, matrices.

use super::{
    expr::Expr,
    lex::Tok,
    numeric,
    parse::{DEEPEST, LONGEST, Parser, named},
    parse_sum::over,
    rational::Rat,
};

const FUNCTIONS: [&str; 29] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "sinh",
    "cosh", "tanh", "coth", "arsinh", "arcosh", "artanh", "exp", "ln", "log", "lg", "gcd", "lcm", "max", "min", "det",
    "arg",
];
const LETTERS: [&str; 36] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "angle",
    "varnothing",
];

pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

pub(super) fn is_letter(name: &str) -> bool {
    LETTERS.contains(&name)
}

impl Parser<'_> {
    /// An atom with its powers, factorials, degrees and percent signs.
    pub(super) fn postfix(&mut self) -> Option<Expr> {
        let mut value = self.atom()?;
        for _ in 0..LONGEST {
            if self.eat('^') {
                value = self.power(value)?;
            } else if self.eat('!') {
                value = Expr::Func("factorial".to_owned(), vec![value]);
            } else if self.eat('%') {
                if value.number().is_none() && !self.dialect.human {
                    return None;
                }
                value = Expr::Percent(Box::new(value));
            } else if !self.eat('\'') && !self.eat_cmd(&["degree", "circ"]) {
                return Some(value);
            }
        }
        None
    }

    fn power(&mut self, base: Expr) -> Option<Expr> {
        let braced = self.eat('{');
        let empty = if self.eat_cmd(&["circ", "degree", "prime", "top"]) {
            true
        } else {
            while self.eat('\'') {}
            false
        };
        if empty {
            return (!braced || self.eat('}')).then_some(base);
        }
        if !base.is_scalar() {
            return None;
        }
        let exponent = if braced {
            let inner = self.sum()?;
            if !self.eat('}') {
                return None;
            }
            inner
        } else if self.dialect.human && self.eat('-') {
            self.atom()?.negated()
        } else {
            self.atom()?
        };
        Some(Expr::Pow(Box::new(base), Box::new(exponent)))
    }

    fn atom(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let value = self.any_atom();
        self.depth -= 1;
        value
    }

    fn any_atom(&mut self) -> Option<Expr> {
        let tok = self.peek()?.clone();
        if matches!(tok, Tok::Sign('(' | '[' | ']' | '{' | '|')) {
            return self.bracketed(&tok);
        }
        self.at += 1;
        match tok {
            Tok::Num(text) => {
                let value = Rat::decimal(&text)?;
                let number = if text.contains('.') { Expr::Dec(value) } else { Expr::Num(value) };
                Some(self.based(number))
            }
            Tok::Letter('e') => Some(Expr::E),
            Tok::Letter('I') => Some(Expr::Imaginary),
            Tok::Letter('i') if self.dialect.human && !self.is('_') => Some(Expr::Imaginary),
            Tok::Letter(c) => self.symbol(c.to_string()),
            Tok::Text(name) | Tok::Accent(name) => self.symbol(name),
            Tok::Begin(name) => self.matrix(&name),
            Tok::Cmd(name) => self.command(&name),
            _ => None,
        }
    }

    fn command(&mut self, name: &str) -> Option<Expr> {
        if let Some(set) = named(name) {
            return Some(Expr::Named(set));
        }
        match name {
            "pi" => Some(Expr::Pi),
            "infty" => Some(Expr::Infinity),
            "boxed" | "fbox" => self.braces(),
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let top = self.braces()?;
                let bottom = self.braces()?;
                (top.is_scalar() && bottom.is_scalar()).then(|| over(top, bottom)).flatten()
            }
            "binom" | "dbinom" | "tbinom" => {
                let top = self.braces()?;
                Some(Expr::Func("binom".to_owned(), vec![top, self.braces()?]))
            }
            "sqrt" => self.root(),
            "lbrace" => self.finite_set(),
            "lfloor" | "lceil" => {
                let inner = self.sum()?;
                let (close, function) = if name == "lfloor" { ("rfloor", "floor") } else { ("rceil", "ceil") };
                self.eat_cmd(&[close]).then(|| Expr::Func(function.to_owned(), vec![inner]))
            }
            name if is_function(name) => self.function(name),
            name if is_letter(name) => self.symbol(name.to_owned()),
            _ => None,
        }
    }

    /// `{…}`, or one atom where the braces are left out.
    fn braces(&mut self) -> Option<Expr> {
        if !self.is('{') {
            return self.atom();
        }
        let tok = Tok::Sign('{');
        self.bracketed(&tok)
    }

    fn root(&mut self) -> Option<Expr> {
        let index = if self.eat('[') {
            let index = self.sum()?;
            if !self.eat(']') {
                return None;
            }
            index
        } else {
            Expr::int(2)
        };
        let inner = self.braces()?;
        let odd = index.number().is_some_and(|n| n.is_int() && n.num % 2 != 0);
        let exponent = Box::new(over(Expr::int(1), index)?);
        if self.dialect.human && odd && numeric::real(&inner).is_some_and(|v| v < 0.0) {
            return Some(Expr::Pow(Box::new(inner.negated()), exponent).negated());
        }
        Some(Expr::Pow(Box::new(inner), exponent))
    }

    fn function(&mut self, name: &str) -> Option<Expr> {
        let base = if self.eat('_') { Some(self.braces()?) } else { None };
        let power = if self.eat('^') { Some(self.braces()?) } else { None };
        let mut arguments = if self.eat('(') {
            let list = self.groups()?.into_iter().flatten().collect();
            if !self.eat(')') {
                return None;
            }
            list
        } else if self.is('{') {
            vec![self.braces()?]
        } else {
            vec![self.product(true)?]
        };
        arguments.extend(base);
        let inverse = power == Some(Expr::int(-1)) && matches!(name, "sin" | "cos" | "tan");
        let name = if inverse { format!("arc{name}") } else { name.to_owned() };
        let value = Expr::Func(name, arguments);
        Some(match power {
            Some(power) if !inverse => Expr::Pow(Box::new(value), Box::new(power)),
            _ => value,
        })
    }

    /// A name with its subscript.
    fn symbol(&mut self, name: String) -> Option<Expr> {
        if !self.is('_') {
            return Some(Expr::Sym(name));
        }
        let start = self.at;
        self.at += 1;
        self.braces()?;
        let subscript: String = self.toks[start + 1..self.at].iter().map(spelled).collect();
        Some(Expr::Sym(format!("{name}_{subscript}")))
    }

    /// The base under a number is kept, for readers who compare it.
    fn based(&mut self, number: Expr) -> Expr {
        if !self.is('_') {
            return number;
        }
        let start = self.at;
        self.at += 1;
        if let Some(Expr::Num(base)) = self.braces()
            && let Ok(base) = u32::try_from(base.num)
        {
            return if self.dialect.human { Expr::Based(Box::new(number), base) } else { number };
        }
        self.at = start;
        number
    }
}

fn spelled(tok: &Tok) -> String {
    match tok {
        Tok::Num(s) | Tok::Text(s) | Tok::Accent(s) | Tok::Cmd(s) => s.clone(),
        Tok::Letter(c) => c.to_string(),
        Tok::Sign(c) if !matches!(c, '{' | '}') => c.to_string(),
        _ => String::new(),
    }
}
