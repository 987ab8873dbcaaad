//! Axes: parameters with several values, from the file or from the command line.

use serde_json::{Number, Value};

/// The most values that one axis may have.
pub const MAX_VALUES: usize = 100_000;

/// Reads the values of an axis as the file writes them: a list, or a range `start:end:step`. A value may stand twice,
/// since it may be zipped; see [`twice`].
pub fn values_of(value: &Value) -> Result<Vec<Value>, String> {
    let values = match value {
        Value::Array(values) => values.clone(),
        Value::String(text) => range(text)?,
        _ => return Err("an axis is a list of values or a range such as `0:1:0.25`".into()),
    };
    usable(values)
}

/// Reads the values of an axis as the command line writes them: `1e-5,2e-5` or `0:1:0.05`.
pub fn values_of_argument(text: &str) -> Result<Vec<Value>, String> {
    if text.split(':').count() == 3 {
        return checked(range(text)?);
    }
    checked(text.split(',').map(|item| scalar(item.trim())).collect())
}

/// Reads one value as the command line writes it: a number, `true`, `false`, or text.
pub fn scalar(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    if let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64) {
        return Value::Number(number);
    }
    text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from)
}

/// Shows a value as it stands in the name of a node: `0.5`, `1`, `slerp`.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            Some(float) if number.is_f64() && float != 0.0 && (float.abs() < 1e-4 || float.abs() >= 1e15) => {
                format!("{float:e}")
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Returns whether two values are the same point of an axis: as it is shown.
pub fn same(a: &Value, b: &Value) -> bool {
    // `show` writes equal numbers alike, whatever their type.
    show(a) == show(b)
}

/// Returns a value that stands twice, as it is shown.
pub fn twice(values: &[Value]) -> Option<String> {
    let mut shown: Vec<String> = values.iter().map(show).collect();
    shown.sort_unstable();
    shown.windows(2).find_map(|pair| (pair[0] == pair[1]).then(|| pair[0].clone()))
}

fn checked(values: Vec<Value>) -> Result<Vec<Value>, String> {
    let values = usable(values)?;
    match twice(&values) {
        Some(twice) => Err(format!("the value `{twice}` stands twice")),
        None => Ok(values),
    }
}

fn usable(values: Vec<Value>) -> Result<Vec<Value>, String> {
    if values.is_empty() {
        return Err("an axis needs at least one value".into());
    }
    if values.len() > MAX_VALUES {
        return Err(format!("{} values are more than {MAX_VALUES}", values.len()));
    }
    if let Some(value) = values.iter().find(|value| value.is_array() || value.is_object() || value.is_null()) {
        return Err(format!("`{value}` is not a single value"));
    }
    // The values stand in the names of nodes, which must be told apart and written on a command line.
    let odd = |c: char| c.is_control() || matches!(c, ',' | '=' | '[' | ']' | '"' | '\'');
    if let Some(text) = values.iter().filter_map(Value::as_str).find(|text| text.contains(odd) || text.is_empty()) {
        return Err(format!("`{}` cannot be swept: it is empty or holds one of `,=[]\"'`", text.escape_debug()));
    }
    if let Some(text) = values.iter().filter_map(Value::as_str).find(|text| text.contains("${")) {
        return Err(format!("`{text}` cannot be swept: the values of an axis are plain"));
    }
    Ok(values)
}

/// Reads `start:end:step`. Counts in the finest decimal place written, so that `0:1:0.1` holds 0.3 and not
/// 0.30000000000000004. The end is included when a step lands on it.
fn range(text: &str) -> Result<Vec<Value>, String> {
    let wrong = || format!("`{text}` is not a range such as `0:1:0.25`");
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let [start, end, step] = parts[..] else { return Err(wrong()) };
    let places = [start, end, step].iter().map(|part| places(part)).max().unwrap_or(0);
    if places > 12 {
        return Err(format!("`{text}` has more than 12 decimal places"));
    }
    let scale = 10f64.powi(places as i32);
    let scaled = |part: &str| -> Result<i64, String> {
        let number: f64 = part.parse().map_err(|_| wrong())?;
        let scaled = (number * scale).round();
        if scaled.abs() < 9e15 { Ok(scaled as i64) } else { Err(wrong()) }
    };
    let (start, end, step) = (scaled(start)?, scaled(end)?, scaled(step)?);
    if step == 0 || (end - start).signum() == -step.signum() {
        return Err(format!("`{text}` never reaches its end"));
    }
    let count = (end - start) / step + 1;
    if count > MAX_VALUES as i64 {
        return Err(format!("`{text}` has {count} values, more than {MAX_VALUES}"));
    }
    Ok((0..count).map(|i| start + i * step).map(|scaled| decimal(scaled, places)).collect())
}

/// Returns `scaled / 10^places`, read back from its decimal form.
fn decimal(scaled: i64, places: usize) -> Value {
    if places == 0 {
        return Value::from(scaled);
    }
    let float = format!("{scaled}e-{places}").parse::<f64>().unwrap_or(f64::NAN);
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

fn places(text: &str) -> usize {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    usize::try_from(fraction.saturating_sub(exponent.parse::<i64>().unwrap_or(0))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        values_of_argument(text).unwrap().iter().map(show).collect()
    }

    #[test]
    fn a_range_counts_in_decimals() {
        assert_eq!(shown("0:1:0.25"), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(shown("0:0.4:0.1"), ["0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(shown("1e-5:3e-5:1e-5"), ["1e-5", "2e-5", "3e-5"]);
        assert_eq!(shown("3:1:-1"), ["3", "2", "1"]);
    }

    #[test]
    fn a_list_keeps_types() {
        assert_eq!(
            values_of_argument("1,2.5,slerp,true").unwrap(),
            [json!(1), json!(2.5), json!("slerp"), json!(true)]
        );
        assert!(values_of_argument("1,1.0").unwrap_err().contains("twice"));
        assert!(values_of_argument("0:1:0").is_err());
        assert!(values_of_argument("0:1:-0.1").is_err());
    }
}
