//! Methods that Python's strings have, beyond those of minijinja's own compatibility layer, and a bound on those whose
//! result may be much longer than what they are called on.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::guard::{bounded, charge, refused};
use super::{percent, python, tuple};

/// The longest padding that a format may ask for.
const WIDEST: usize = 1000;

/// Calls a method of a value that minijinja itself does not know.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        let answer = pycompat::unknown_method_callback(state, value, method, args)?;
        return Ok(if method == "items" { tuple::pairs(&answer) } else { answer });
    };
    charge(state, text.len() + 8)?;
    match method {
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            let rest = if method == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            Ok(Value::from(rest.unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (at,): (&str,) = from_args(args)?;
            let found = if method == "partition" { text.split_once(at) } else { text.rsplit_once(at) };
            let parts = match found {
                Some((before, after)) => [before, at, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Ok(tuple::tuple(parts.map(Value::from).into()))
        }
        "rsplit" => {
            let (at, most): (Option<&str>, Option<usize>) = from_args(args)?;
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = match at {
                Some(at) => text.rsplitn(most, at).collect(),
                None => return pycompat::unknown_method_callback(state, value, "split", &[]),
            };
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        "ljust" | "rjust" | "zfill" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let missing = width.min(text.len() + WIDEST).saturating_sub(text.chars().count());
            let fill = fill.unwrap_or(if method == "zfill" { "0" } else { " " }).repeat(missing);
            Ok(Value::from(if method == "ljust" { format!("{text}{fill}") } else { format!("{fill}{text}") }))
        }
        "casefold" => Ok(Value::from(text.to_lowercase())),
        "replace" => {
            let (old, new) = match args {
                [old, new, ..] => (old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default()),
                _ => ("", ""),
            };
            let times = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
            charge(state, text.len().saturating_add(times.saturating_mul(new.len())))?;
            pycompat::unknown_method_callback(state, value, method, args)
        }
        "join" => {
            let (values,): (Value,) = from_args(args)?;
            join(state, &values, text).map(Value::from)
        }
        "format" => {
            check_format(text)?;
            args.iter().try_for_each(|argument| bounded(state, argument).map(|_| ()))?;
            // What asks for a part of an argument must get the whole.
            let parts = text.split('{').skip(1).filter_map(|field| field.split([':', '}']).next());
            let args = if parts.into_iter().any(|name| name.contains(['.', '[', '!'])) {
                args.to_vec()
            } else {
                args.iter().map(as_python_writes).collect::<Result<_, _>>()?
            };
            pycompat::unknown_method_callback(state, value, method, &args)
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Turns what minijinja writes in a way of its own into text: truth values, nothing, lists.
fn as_python_writes(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Seq => python::text(value).map(Value::from),
        ValueKind::Map if !value.is_kwargs() => python::text(value).map(Value::from),
        _ => Ok(value.clone()),
    }
}

/// Joins values with a text between them.
fn join(state: &State<'_, '_>, values: &Value, between: &str) -> Result<String, Error> {
    let size = bounded(state, values)?;
    let count = values.len().unwrap_or(0);
    charge(state, (size as usize).saturating_add(count.saturating_mul(between.len())))?;
    let mut joined = String::new();
    for (i, value) in values.try_iter()?.enumerate() {
        joined.push_str(if i > 0 { between } else { "" });
        joined.push_str(&python::text(&value)?);
    }
    Ok(joined)
}

/// The filter `join`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn join_filter(
    state: &State<'_, '_>,
    values: Value,
    between: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let between = match between {
        Some(between) => Some(between),
        None => options.get::<Option<Value>>("d")?,
    };
    let attribute: Option<String> = options.get("attribute")?;
    options.assert_all_used()?;
    let between = between.map(|between| python::text(&between)).transpose()?.unwrap_or_default();
    if values.is_undefined() {
        return Ok(Value::from(""));
    }
    let values = match attribute {
        Some(name) => values.try_iter()?.map(|value| value.get_attr(&name)).collect::<Result<Vec<_>, _>>()?.into(),
        None => values,
    };
    join(state, &values, &between).map(Value::from)
}

/// The filter `string`.
pub(super) fn string_filter(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    bounded(state, &value)?;
    if value.kind() == ValueKind::String { Ok(value) } else { python::text(&value).map(Value::from) }
}

/// The filter `indent`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn indent_filter(
    state: &State<'_, '_>,
    text: &str,
    width: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let option = |name: &str| -> Result<bool, Error> { Ok(options.get::<Option<bool>>(name)?.unwrap_or(false)) };
    let (first, blank) = (option("first")?, option("blank")?);
    let width = match width {
        Some(width) => Some(width),
        None => options.get::<Option<Value>>("width")?,
    };
    options.assert_all_used()?;
    let by = match width {
        None => "    ".to_owned(),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(narrow(usize::try_from(width).unwrap_or(usize::MAX))?),
        },
    };
    charge(state, text.len().saturating_add(text.matches('\n').count().saturating_add(1).saturating_mul(by.len())))?;
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&by);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// The filter `format`: `"%s"|format(x)`, which is `"%s" % (x,)`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
pub(super) fn format_filter(
    state: &State<'_, '_>,
    text: &str,
    args: Rest<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: Vec<(String, Value)> =
        options.args().map(|name| Ok((name.to_owned(), options.get(name)?))).collect::<Result<_, Error>>()?;
    let arguments = match (named.is_empty(), args.is_empty()) {
        (true, _) => tuple::tuple(args.to_vec()),
        (false, true) => named.into_iter().collect(),
        (false, false) => return Err(refused("`format` takes arguments by place or by name, and not both")),
    };
    percent::put_in(state, text, &arguments).map(Value::from)
}

/// The filters `items` and `dictsort`, which give pairs.
pub(super) fn items_filter(value: &Value) -> Result<Value, Error> {
    minijinja::filters::items(value).map(|items| tuple::pairs(&items))
}

/// See [`items_filter`].
pub(super) fn dictsort_filter(value: &Value, options: Kwargs) -> Result<Value, Error> {
    minijinja::filters::dictsort(value, options).map(|items| tuple::pairs(&items))
}

/// The filters `batch` and `slice`, which may be asked to fill up with any number of values.
pub(super) fn batch_filter(
    state: &State<'_, '_>,
    values: Value,
    count: usize,
    fill: Option<Value>,
) -> Result<Value, Error> {
    minijinja::filters::batch(state, values, narrow(count)?, fill)
}

/// See [`batch_filter`].
pub(super) fn slice_filter(
    state: &State<'_, '_>,
    values: Value,
    count: usize,
    fill: Option<Value>,
) -> Result<Value, Error> {
    minijinja::filters::slice(state, values, narrow(count)?, fill)
}

fn narrow(width: usize) -> Result<usize, Error> {
    if width <= WIDEST { Ok(width) } else { Err(refused(format!("{width} is too wide"))) }
}

/// Fails on a format that pads beyond all measure, or whose padding is itself an argument.
fn check_format(format: &str) -> Result<(), Error> {
    let digits = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    let nested = format.split('{').skip(1).any(|field| field.contains(':') && !field.contains('}'));
    if digits > 3 || nested || format.contains('*') && format.contains('%') {
        return Err(Error::new(ErrorKind::InvalidOperation, "a format pads too much"));
    }
    Ok(())
}
