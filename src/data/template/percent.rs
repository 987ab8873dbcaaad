//! Python's `%`: the remainder of numbers, and texts with arguments put in (`'%02d' % n`), which the filter `format` does too.
//!
//! minijinja has the remainder only, and takes it differently for divisors below zero. Everything is written as CPython
//! writes it; what it refuses is refused. A width or precision above [`WIDEST`] is refused too, since it is the template
//! that asks for the memory.

use std::fmt::Write;

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::guard::{bounded, charge, fits, refused};
use super::{python, tuple};

/// The greatest width or precision.
const WIDEST: usize = 1000;

/// `left % right`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn percent(state: &State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    if let Some(format) = left.as_str() {
        return put_in(state, format, &right).map(Value::from);
    }
    if let (Some(left), Some(right)) = (integer(&left), integer(&right)) {
        let rest = left.checked_rem(right).ok_or_else(|| refused("there is no remainder of a division by zero"))?;
        return Ok(number(if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }));
    }
    let (Some(left), Some(right)) = (float(&left), float(&right)) else {
        return Err(refused(format!("there is no `%` of {} and {}", left.kind(), right.kind())));
    };
    if right.abs() <= 0.0 {
        return Err(refused("there is no remainder of a division by zero"));
    }
    let rest = left % right;
    let rest = if rest.abs() > 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest };
    Ok(Value::from(if rest.abs() > 0.0 || rest.is_nan() { rest } else { 0.0f64.copysign(right) }))
}

/// Small numbers as small ones, which is what others compare them with.
fn number(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

/// Returns a whole number; Python's truth values are some.
fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// Returns a text with arguments put in: those of a tuple, or the only one.
pub(super) fn put_in(state: &State<'_, '_>, format: &str, arguments: &Value) -> Result<String, Error> {
    bounded(state, arguments)?;
    let mut formatter = Formatter { rest: format, arguments, next: 0, out: String::new() };
    while let Some(at) = formatter.rest.find('%') {
        formatter.out.push_str(&formatter.rest[..at]);
        formatter.rest = &formatter.rest[at + 1..];
        let before = formatter.out.len();
        formatter.field()?;
        // An argument may be named again and again.
        charge(state, formatter.out.len() - before)?;
        fits(state, formatter.out.len())?;
    }
    let Formatter { rest, mut out, next, .. } = formatter;
    out.push_str(rest);
    let given = match tuple::values(arguments) {
        Some(values) => values.len(),
        // Python does not mind a list or a mapping that nobody asked for.
        None if matches!(arguments.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) => 0,
        None => 1,
    };
    if next < given {
        return Err(refused("not all arguments of a format were put in"));
    }
    charge(state, out.len())?;
    Ok(out)
}

/// What stands between the `%` and the letter.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "as many flags as Python has")]
struct Flags {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    other: bool,
    width: usize,
    precision: Option<usize>,
}

struct Formatter<'a> {
    rest: &'a str,
    arguments: &'a Value,
    next: usize,
    out: String,
}

impl Formatter<'_> {
    fn take(&mut self) -> Result<char, Error> {
        let mut characters = self.rest.chars();
        let first = characters.next().ok_or_else(|| refused("a format ends within a field"))?;
        self.rest = characters.as_str();
        Ok(first)
    }

    fn takes(&mut self, wanted: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|first| wanted.contains(first))?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    fn argument(&mut self) -> Result<Value, Error> {
        let missing = || refused("a format has more fields than arguments");
        let at = self.next;
        self.next += 1;
        match tuple::values(self.arguments) {
            Some(values) => values.get(at).cloned().ok_or_else(missing),
            None if at == 0 => Ok(self.arguments.clone()),
            None => Err(missing()),
        }
    }

    /// `(name)`, the argument of a mapping.
    fn named(&mut self) -> Result<Option<Value>, Error> {
        if self.takes(&['(']).is_none() {
            return Ok(None);
        }
        let mut open = 1;
        let end = self.rest.char_indices().find(|(_, c)| {
            open += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            open == 0
        });
        let (end, _) = end.ok_or_else(|| refused("a format has a name without an end"))?;
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let value = (self.arguments.kind() == ValueKind::Map).then(|| self.arguments.get_item(&Value::from(name)));
        match value.transpose()?.filter(|value| !value.is_undefined()) {
            Some(value) => Ok(Some(value)),
            None => Err(refused(format!("a format wants `{name}`, which it is not given"))),
        }
    }

    fn size(&mut self, flags: &mut Flags) -> Result<usize, Error> {
        let size = if self.takes(&['*']).is_some() {
            let size = integer(&self.argument()?).ok_or_else(|| refused("`*` of a format wants a whole number"))?;
            flags.left |= size < 0;
            size.unsigned_abs()
        } else {
            let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = self.rest.split_at(digits);
            self.rest = rest;
            if number.is_empty() { 0 } else { number.parse().unwrap_or(u128::MAX) }
        };
        usize::try_from(size).ok().filter(|size| *size <= WIDEST).ok_or_else(|| refused(format!("{size} is too wide")))
    }

    fn field(&mut self) -> Result<(), Error> {
        let named = self.named()?;
        let mut flags = Flags::default();
        while let Some(flag) = self.takes(&['-', '0', '+', ' ', '#']) {
            match flag {
                '-' => flags.left = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                _ => flags.other = true,
            }
        }
        flags.width = self.size(&mut flags)?;
        if self.takes(&['.']).is_some() {
            flags.precision = Some(self.size(&mut Flags::default())?);
        }
        self.takes(&['h', 'l', 'L']);
        let letter = self.take()?;
        if letter == '%' {
            self.out.push('%');
            return Ok(());
        }
        if !"srdiuoxXeEfFgGc".contains(letter) {
            return Err(refused(format!("a format has no field `%{letter}`")));
        }
        let value = match named {
            Some(value) => value,
            None => self.argument()?,
        };
        let (sign, digits, is_number) = written(letter, &value, &flags)?;
        self.pad(&flags, &sign, &digits, is_number);
        Ok(())
    }

    fn pad(&mut self, flags: &Flags, sign: &str, digits: &str, is_number: bool) {
        let missing = flags.width.saturating_sub(sign.chars().count() + digits.chars().count());
        let fill = |c: char| std::iter::repeat_n(c, missing);
        match (flags.left, flags.zero && is_number) {
            (true, _) => {
                self.out.extend([sign, digits]);
                self.out.extend(fill(' '));
            }
            (false, true) => {
                self.out.push_str(sign);
                self.out.extend(fill('0'));
                self.out.push_str(digits);
            }
            (false, false) => {
                self.out.extend(fill(' '));
                self.out.extend([sign, digits]);
            }
        }
    }
}

/// Returns a value as a letter asks for it: its sign, the rest, and whether it is a number.
fn written(letter: char, value: &Value, flags: &Flags) -> Result<(String, String, bool), Error> {
    let wrong = || refused(format!("`%{letter}` of a format cannot take a value of type {}", value.kind()));
    match letter {
        's' | 'r' => {
            let text = if letter == 's' { python::text(value)? } else { python::repr_of(value)? };
            let shown = flags.precision.unwrap_or(usize::MAX);
            Ok((String::new(), text.chars().take(shown).collect(), false))
        }
        'c' => {
            let code = || integer(value).and_then(|code| char::from_u32(u32::try_from(code).ok()?));
            let one = |text: &str| text.chars().next().filter(|c| c.len_utf8() == text.len());
            let c = value.as_str().map_or_else(code, one).ok_or_else(wrong)?;
            Ok((String::new(), c.into(), false))
        }
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let (negative, mut digits) = whole(letter, value).ok_or_else(wrong)?;
            let missing = flags.precision.unwrap_or(0).saturating_sub(digits.len());
            digits.insert_str(0, &"0".repeat(missing));
            let mut sign = sign(negative, flags).to_owned();
            if flags.other && matches!(letter, 'o' | 'x' | 'X') {
                sign.extend(['0', letter]);
            }
            Ok((sign, digits, true))
        }
        _ => {
            let float = float(value).ok_or_else(wrong)?;
            let digits = decimal(letter.to_ascii_lowercase(), float.abs(), flags);
            let digits = if letter.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
            Ok((sign(float.is_sign_negative() && !float.is_nan(), flags).into(), digits, true))
        }
    }
}

/// Returns whether a whole number is below zero, and its digits.
fn whole(letter: char, value: &Value) -> Option<(bool, String)> {
    let Some(number) = integer(value) else {
        let float = float(value).filter(|float| float.is_finite() && matches!(letter, 'd' | 'i' | 'u'))?.trunc();
        return Some((float < 0.0, format!("{:.0}", float.abs())));
    };
    let size = number.unsigned_abs();
    let digits = match letter {
        'o' => format!("{size:o}"),
        'x' => format!("{size:x}"),
        'X' => format!("{size:X}"),
        _ => size.to_string(),
    };
    Some((number < 0, digits))
}

fn sign(negative: bool, flags: &Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

/// Writes a number that is not below zero.
fn decimal(letter: char, number: f64, flags: &Flags) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan" } else { "inf" }.into();
    }
    let precision = flags.precision.unwrap_or(6);
    let point = |text: String| if flags.other && !text.contains('.') { text + "." } else { text };
    match letter {
        'f' => point(format!("{number:.precision$}")),
        'e' => {
            let (digits, exponent) = scientific(number, precision);
            with_exponent(point(digits), exponent)
        }
        _ => {
            let precision = precision.max(1);
            let (digits, exponent) = scientific(number, precision - 1);
            let small = exponent < -4 || exponent >= i32::try_from(precision).unwrap_or(i32::MAX);
            let places = usize::try_from(precision as i64 - 1 - i64::from(exponent)).unwrap_or(0);
            let text = point(if small { digits } else { format!("{number:.places$}") });
            let text = if flags.other || !text.contains('.') {
                text
            } else {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            };
            if small { with_exponent(text, exponent) } else { text }
        }
    }
}

fn scientific(number: f64, precision: usize) -> (String, i32) {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mut digits: String, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(digits, "e{sign}{:02}", exponent.abs());
    digits
}
