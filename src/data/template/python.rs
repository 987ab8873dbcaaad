//! Values as Python writes them: `str`, `json.dumps`, `strftime`.
//!
//! Templates are written for Python, and what they print is trained on: `1e-05` and `0.00001` are different tokens.

use std::fmt::Write;

use chrono::NaiveDateTime;
use chrono::format::{Item, StrftimeItems};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::guard::{bounded, refused};
use super::tuple;

/// Returns what Python's `str` makes of a value. The value must have been measured.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None if value.is_undefined() => {}
        None => repr(value, &mut out)?,
    }
    Ok(out)
}

/// Returns what Python's `repr` makes of a value. The value must have been measured.
pub(super) fn repr_of(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    repr(value, &mut out)?;
    Ok(out)
}

fn repr(value: &Value, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::String => repr_text(value.as_str().unwrap_or_default(), out),
        ValueKind::Number => number(value, out),
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&key, out)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = tuple::is_tuple(value);
            out.push(if is_tuple { '(' } else { '[' });
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&item, out)?;
            }
            out.push_str(match (is_tuple, value.len()) {
                (true, Some(1)) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            });
        }
        ValueKind::Undefined => out.push_str("Undefined"),
        _ => {
            let _ = write!(out, "{value}");
        }
    }
    Ok(())
}

fn repr_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                let code = u32::from(c);
                let _ = if code < 256 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{code:04x}") };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Writes a number as Python's `repr` does.
fn number(value: &Value, out: &mut String) {
    let float = if value.is_integer() { None } else { f64::try_from(value.clone()).ok() };
    let Some(float) = float else {
        let _ = write!(out, "{value}");
        return;
    };
    if !float.is_finite() {
        out.push_str(if float.is_nan() {
            "nan"
        } else if float > 0.0 {
            "inf"
        } else {
            "-inf"
        });
        return;
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        let _ = write!(out, "{plain}{}", if plain.contains('.') { "" } else { ".0" });
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
    }
}

/// How `json.dumps` was asked to write.
struct Json {
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
    /// Characters that are no part of the text (marks) and stay as they are.
    marks: String,
}

/// The filter `tojson`, with transformers' defaults: no HTML escapes, accents as they are.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: Value,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    bounded(state, &value)?;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = match indent.filter(|indent| !indent.is_none() && !indent.is_undefined()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) if text.len() <= 64 => text.to_owned(),
            Some(_) => return Err(refused("`tojson` indents by 64 characters at most")),
            None => {
                let width = i64::try_from(indent).map_err(|_| refused("`tojson` takes `indent` as a number"))?;
                let width = usize::try_from(width.max(0)).unwrap_or(0);
                if width > 64 {
                    return Err(refused("`tojson` indents by 64 characters at most"));
                }
                " ".repeat(width)
            }
        }),
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) if item.len() + key.len() <= 64 => (item.clone(), key.clone()),
        Some(_) => return Err(refused("`tojson` takes two short `separators`")),
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mark = |name: &str| state.lookup(name).map(|mark| mark.to_string()).unwrap_or_default();
    let marks = mark(super::BEGIN) + &mark(super::END) + &mark(super::LITERAL);
    let json = Json { indent, item, key, ascii, sort, marks };
    let mut out = String::new();
    json.value(&value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

impl Json {
    fn value(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::None => out.push_str("null"),
            ValueKind::Number => {
                let mut text = String::new();
                number(value, &mut text);
                out.push_str(match text.as_str() {
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    "-inf" => "-Infinity",
                    finite => finite,
                });
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort_by_key(ToString::to_string);
                }
                self.list(&keys, depth, ['{', '}'], out, |key, out| {
                    self.text(&key_text(key)?, out);
                    out.push_str(&self.key);
                    self.value(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(&items, depth, ['[', ']'], out, |item, out| self.value(item, depth + 1, out))?;
            }
            _ => {
                let what = if value.is_undefined() { "an undefined value" } else { "such a value" };
                return Err(Error::new(ErrorKind::BadSerialization, format!("{what} has no JSON form")));
            }
        }
        Ok(())
    }

    fn list(
        &self,
        items: &[Value],
        depth: usize,
        [open, close]: [char; 2],
        out: &mut String,
        write: impl Fn(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(indent.as_str(), depth));
            }
        };
        for (i, item) in items.iter().enumerate() {
            out.push_str(if i > 0 { &self.item } else { "" });
            line(depth + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{C}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c) && !self.marks.contains(c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Returns a key as `json.dumps` writes it.
fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => key.to_string().to_lowercase(),
        _ => text(key)?,
    })
}

/// `value[start:stop:step]`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn slice(state: &State<'_, '_>, value: Value, parts: Vec<Value>) -> Result<Value, Error> {
    bounded(state, &value)?;
    let part = |i: usize| -> Result<Option<i64>, Error> {
        match parts.get(i) {
            None => Ok(None),
            Some(part) if part.is_none() => Ok(None),
            Some(part) => {
                i64::try_from(part.clone()).map(Some).map_err(|_| refused("a slice goes from number to number"))
            }
        }
    };
    let step = part(2)?.unwrap_or(1);
    let places = |length: usize| places(length as i64, part(0)?, part(1)?, step);
    if let Some(text) = value.as_str() {
        let characters: Vec<char> = text.chars().collect();
        return Ok(Value::from(places(characters.len())?.map(|at| characters[at]).collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(refused(format!("a value of type {} cannot be sliced", value.kind())));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    let taken: Vec<Value> = places(items.len())?.map(|at| items[at].clone()).collect();
    Ok(if tuple::is_tuple(&value) { tuple::tuple(taken) } else { taken.into() })
}

/// Returns the places that a slice takes, as Python does.
fn places(length: i64, start: Option<i64>, stop: Option<i64>, step: i64) -> Result<impl Iterator<Item = usize>, Error> {
    if step == 0 {
        return Err(refused("a slice cannot have a step of zero"));
    }
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(length) } else { at }).clamp(least, most);
    let start = start.map_or(if step > 0 { least } else { most }, place);
    let stop = stop.map_or(if step > 0 { most } else { least }, place);
    let inside = move |at: &i64| if step > 0 { *at < stop } else { *at > stop };
    let next = move |at: &i64| at.checked_add(step);
    Ok(std::iter::successors(Some(start), next).take_while(inside).map(|at| at as usize))
}

/// Returns a date in a format of `strftime`.
pub(super) fn strftime(date: NaiveDateTime, format: &str) -> Result<String, Error> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let mut text = String::new();
    if items.contains(&Item::Error) || write!(text, "{}", date.format_with_items(items.iter())).is_err() {
        return Err(refused(format!("`strftime_now` knows no format `{format}`")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11 prints.
    #[test]
    fn values_are_written_as_python_writes_them() {
        for (value, expected) in [
            (Value::from(1e-5), "1e-05"),
            (Value::from(1e16), "1e+16"),
            (Value::from(123_456_789.0), "123456789.0"),
            (Value::from(0.0001), "0.0001"),
            (Value::from(-1.5e300), "-1.5e+300"),
            (Value::from(3), "3"),
            (Value::from(true), "True"),
            (Value::from(()), "None"),
            (
                Value::from_serialize(serde_json::json!({"a": [1, "l'é\n\u{a0}", null]})),
                "{'a': [1, \"l'é\\n\\xa0\", None]}",
            ),
        ] {
            assert_eq!(text(&value).unwrap(), expected);
        }
    }

    /// What Python gives for `list(range(6))[start:stop:step]`.
    #[test]
    fn slices_are_those_of_python() {
        type Case<'a> = (i64, Option<i64>, Option<i64>, i64, &'a [usize]);
        let cases: [Case<'_>; 9] = [
            (6, Some(1), None, 1, &[1, 2, 3, 4, 5]),
            (6, None, None, -1, &[5, 4, 3, 2, 1, 0]),
            (6, Some(4), Some(1), -1, &[4, 3, 2]),
            (6, Some(-2), None, 1, &[4, 5]),
            (6, Some(-100), Some(100), 4, &[0, 4]),
            (6, Some(100), Some(-100), -4, &[5, 1]),
            (6, Some(4), Some(2), 1, &[]),
            (0, None, None, -1, &[]),
            (6, Some(i64::MIN), Some(i64::MAX), i64::MAX, &[0]),
        ];
        for (length, start, stop, step, expected) in cases {
            assert_eq!(
                places(length, start, stop, step).unwrap().collect::<Vec<_>>(),
                expected,
                "{start:?} {stop:?} {step}"
            );
        }
        assert!(places(6, None, None, 0).is_err());
    }

    #[test]
    fn dates_are_formatted_and_nonsense_refused() {
        let date = chrono::NaiveDate::from_ymd_opt(2024, 7, 6).unwrap().and_hms_opt(9, 5, 0).unwrap();
        assert_eq!(strftime(date, "%d %b %Y, %-d %B %H:%M").unwrap(), "06 Jul 2024, 6 July 09:05");
        assert!(strftime(date, "%Q").is_err());
    }
}
