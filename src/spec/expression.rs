//! Expressions over metrics: `mean(scores.fr.acc, scores.en.acc) - 0.1 * other.loss`.
//!
//! Numbers, `+ - * /`, parentheses, the functions below, and metrics: the name of a node, a dot, and the name of one of
//! its metrics. Names may hold `-` and `/`, so that an operator between two names needs a space on each side. Written by
//! hand, since a library's grammar would take `ifeval-fr` for a difference.

use serde::{Deserialize, Serialize};

use super::params::InputRef;

/// An expression over metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    root: Term,
    nodes: Vec<InputRef>,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    /// The place of the node in `nodes`, and the metric.
    Metric(usize, String),
    Binary(char, Box<Term>, Box<Term>),
    Negative(Box<Term>),
    Call(Function, Vec<Term>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Mean,
    Sum,
    Min,
    Max,
    Abs,
}

const FUNCTIONS: [(&str, Function); 5] = [
    ("mean", Function::Mean),
    ("sum", Function::Sum),
    ("min", Function::Min),
    ("max", Function::Max),
    ("abs", Function::Abs),
];

/// How deep parentheses may lie in each other.
const MAX_DEPTH: usize = 50;

impl Expression {
    /// Returns the nodes whose metrics it uses, each once, in the order of their first use.
    pub fn nodes(&self) -> &[InputRef] {
        &self.nodes
    }

    /// Returns the nodes, to be renamed.
    pub fn nodes_mut(&mut self) -> &mut [InputRef] {
        &mut self.nodes
    }

    /// Computes it. `metric` gives the metric of a node, by the node's place in [`Expression::nodes`].
    pub fn value<E>(&self, metric: &mut impl FnMut(usize, &str) -> Result<f64, E>) -> Result<f64, E> {
        value(&self.root, metric)
    }
}

fn value<E>(term: &Term, metric: &mut impl FnMut(usize, &str) -> Result<f64, E>) -> Result<f64, E> {
    Ok(match term {
        Term::Number(number) => *number,
        Term::Metric(node, name) => metric(*node, name)?,
        Term::Negative(inner) => -value(inner, metric)?,
        Term::Binary(operator, left, right) => {
            let (left, right) = (value(left, metric)?, value(right, metric)?);
            match operator {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                _ => left / right,
            }
        }
        Term::Call(function, terms) => {
            let values = terms.iter().map(|term| value(term, metric)).collect::<Result<Vec<f64>, E>>()?;
            match function {
                Function::Mean => values.iter().sum::<f64>() / values.len() as f64,
                Function::Sum => values.iter().sum(),
                Function::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
                Function::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Function::Abs => values[0].abs(),
            }
        }
    })
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut reader = Reader { tokens: tokens(&text)?, next: 0, nodes: Vec::new(), depth: 0 };
        let root = reader.sum()?;
        if let Some(token) = reader.tokens.get(reader.next) {
            return Err(format!("`{text}`: {} is not expected there", token.show()));
        }
        if reader.nodes.is_empty() {
            return Err(format!("`{text}` names no metric; write one as `node.metric`"));
        }
        Ok(Self { root, nodes: reader.nodes })
    }
}

impl From<Expression> for String {
    /// As it enters a key: nodes by their place, since what they are called says nothing about the result.
    fn from(expression: Expression) -> Self {
        show(&expression.root)
    }
}

fn show(term: &Term) -> String {
    match term {
        Term::Number(number) => number.to_string(),
        Term::Metric(node, name) => format!("{node}.{name}"),
        Term::Negative(inner) => format!("-{}", show(inner)),
        Term::Binary(operator, left, right) => format!("({} {operator} {})", show(left), show(right)),
        Term::Call(function, terms) => {
            let name = FUNCTIONS.iter().find(|(_, known)| known == function).map_or("", |(name, _)| name);
            format!("{name}({})", terms.iter().map(show).collect::<Vec<_>>().join(", "))
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(char),
}

impl Token {
    fn show(&self) -> String {
        match self {
            Token::Number(number) => format!("`{number}`"),
            Token::Name(name) => format!("`{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-./@".contains(c))).unwrap_or(rest.len())
        } else if first.is_ascii_digit() || first == '.' {
            number_length(rest)
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        tokens.push(match first {
            '+' | '-' | '*' | '/' | '(' | ')' | ',' => Token::Sign(first),
            _ if first.is_ascii_digit() || first == '.' => {
                Token::Number(word.parse().map_err(|_| format!("`{word}` is no number"))?)
            }
            _ if first.is_ascii_alphabetic() || first == '_' => Token::Name(word.to_owned()),
            _ => return Err(format!("`{first}` cannot stand in an expression over metrics")),
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Returns how many bytes of the text are a number such as `1`, `0.5`, `1e-3`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
            at += 1;
        }
        at
    };
    let end = digits(0);
    if !matches!(bytes.get(end), Some(b'e' | b'E')) {
        return end;
    }
    let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
    let exponent = digits(end + 1 + sign);
    if exponent > end + 1 + sign { exponent } else { end }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    nodes: Vec<InputRef>,
    depth: usize,
}

impl Reader {
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        match self.tokens.get(self.next) {
            Some(Token::Sign(sign)) if signs.contains(sign) => {
                self.next += 1;
                Some(*sign)
            }
            _ => None,
        }
    }

    fn sum(&mut self) -> Result<Term, String> {
        let mut left = self.product()?;
        while let Some(operator) = self.sign(&['+', '-']) {
            left = Term::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Term, String> {
        let mut left = self.factor()?;
        while let Some(operator) = self.sign(&['*', '/']) {
            left = Term::Binary(operator, Box::new(left), Box::new(self.factor()?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Term, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let term = if self.sign(&['-']).is_some() {
            Term::Negative(Box::new(self.factor()?))
        } else if self.sign(&['(']).is_some() {
            let inner = self.sum()?;
            self.sign(&[')']).ok_or("a `)` is missing")?;
            inner
        } else {
            self.atom()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn atom(&mut self) -> Result<Term, String> {
        let token = self.tokens.get(self.next).cloned().ok_or("the expression ends too early")?;
        self.next += 1;
        let name = match token {
            Token::Number(number) => return Ok(Term::Number(number)),
            Token::Sign(sign) => return Err(format!("`{sign}` is not expected there")),
            Token::Name(name) => name,
        };
        if self.sign(&['(']).is_some() {
            return self.call(&name);
        }
        let Some((node, metric)) = name.split_once('.').filter(|(_, metric)| !metric.is_empty()) else {
            return Err(format!("`{name}` is no metric; write one as `node.metric`"));
        };
        let known = self.nodes.iter().position(|known| known.0 == node);
        let at = known.unwrap_or_else(|| {
            self.nodes.push(InputRef(node.to_owned()));
            self.nodes.len() - 1
        });
        Ok(Term::Metric(at, metric.to_owned()))
    }

    fn call(&mut self, name: &str) -> Result<Term, String> {
        let function = FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function);
        let names = FUNCTIONS.map(|(name, _)| name).join("`, `");
        let function = function.ok_or_else(|| format!("there is no function `{name}`; there are `{names}`"))?;
        let mut terms = vec![self.sum()?];
        while self.sign(&[',']).is_some() {
            terms.push(self.sum()?);
        }
        self.sign(&[')']).ok_or("a `)` is missing")?;
        if function == Function::Abs && terms.len() != 1 {
            return Err("`abs` takes one value".into());
        }
        Ok(Term::Call(function, terms))
    }
}

impl schemars::JsonSchema for Expression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compute(text: &str) -> Result<f64, String> {
        let expression = Expression::try_from(text.to_owned())?;
        let nodes = expression.nodes().to_vec();
        expression.value(&mut |node, metric| match (nodes[node].0.as_str(), metric) {
            ("a", "x") => Ok(2.0),
            ("b-fr", "x-y.z") => Ok(3.0),
            (node, metric) => Err(format!("no {node}.{metric}")),
        })
    }

    #[test]
    fn arithmetic_functions_and_names_with_dashes() {
        assert_eq!(compute("a.x"), Ok(2.0));
        assert_eq!(compute("mean(a.x, b-fr.x-y.z) - 0.5 * a.x"), Ok(1.5));
        assert_eq!(compute("-(a.x - 1e1) / 4"), Ok(2.0));
        assert_eq!(compute("max(a.x, b-fr.x-y.z) + min(a.x, 1) - abs(-a.x) - sum(a.x)"), Ok(0.0));
        assert_eq!(compute("a.x - 1 - 1"), Ok(0.0));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, why) in [
            ("", "ends too early"),
            ("a", "write one as `node.metric`"),
            ("1 + 1", "names no metric"),
            ("a.x +", "ends too early"),
            ("(a.x", "a `)` is missing"),
            ("a.x a.x", "not expected"),
            ("median(a.x)", "there is no function `median`"),
            ("a.x ^ 2", "`^` cannot stand"),
            ("abs(a.x, a.x)", "takes one value"),
        ] {
            let error = compute(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(compute(&"(".repeat(1000)).is_err());
    }

    #[test]
    fn names_do_not_enter_the_key_and_the_arithmetic_does() {
        let key = |text: &str| String::from(Expression::try_from(text.to_owned()).unwrap());
        assert_eq!(key("a.x - b.y*2"), key("c.x - (d.y * 2.0)"));
        assert_ne!(key("a.x - b.y"), key("a.x - a.y"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9.+*/() ,-]{0,40}") {
            let _ = Expression::try_from(text);
        }
    }
}
