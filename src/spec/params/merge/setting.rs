//! A value of a merge parameter: a scalar, a gradient over the layers, or a list of either behind filters.
//!
//! MergeKit's rules: the first filter that is part of the tensor's name wins; a list of numbers is interpolated over the
//! layers of its slice; a number may be written as text, because YAML 1.1 takes `1e-5` for text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::method::ParameterKind;

/// A value of a parameter, as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Setting(pub Value);

impl Setting {
    /// Returns what is wrong with the value, and where inside it: `[1].value`.
    pub fn mistake(&self, kind: ParameterKind) -> Option<(String, String)> {
        let conditions = match &self.0 {
            Value::Array(items) if items.iter().any(Value::is_object) => items.iter().enumerate().collect(),
            Value::Object(_) => vec![(usize::MAX, &self.0)],
            plain => return mistake_in(plain, kind),
        };
        for (i, condition) in conditions {
            let at = if i == usize::MAX { String::new() } else { format!("[{i}]") };
            let Some(fields) = condition.as_object() else {
                return Some((at, "a value without a filter among values with one".to_owned()));
            };
            if let Some(key) = fields.keys().find(|key| !matches!(key.as_str(), "filter" | "value")) {
                return Some((at, format!("`{key}` is neither `filter` nor `value`")));
            }
            if !matches!(fields.get("filter"), None | Some(Value::Null | Value::String(_))) {
                return Some((format!("{at}.filter"), "a filter is a part of a tensor's name".to_owned()));
            }
            let Some(value) = fields.get("value") else { return Some((at, "the `value` is missing".to_owned())) };
            if let Some((place, message)) = mistake_in(value, kind) {
                return Some((format!("{at}.value{place}"), message));
            }
        }
        None
    }

    /// Returns the value for a tensor at `t` of the way through its slice; nothing if no filter matches.
    pub fn at(&self, tensor: &str, t: f64, kind: ParameterKind) -> Option<f64> {
        let matches = |fields: &serde_json::Map<String, Value>| match fields.get("filter").and_then(Value::as_str) {
            None | Some("*") => true,
            Some(filter) => tensor.contains(filter),
        };
        match &self.0 {
            Value::Object(fields) => fields.get("value").filter(|_| matches(fields)).and_then(|v| plain_at(v, t, kind)),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let found = items.iter().filter_map(Value::as_object).find(|fields| matches(fields))?;
                plain_at(found.get("value")?, t, kind)
            }
            plain => plain_at(plain, t, kind),
        }
    }
}

fn mistake_in(value: &Value, kind: ParameterKind) -> Option<(String, String)> {
    let what = match kind {
        ParameterKind::Number => "a number",
        ParameterKind::Whole => "a whole number",
        ParameterKind::Flag => "`true` or `false`",
    };
    let wrong = |value: &Value| format!("expected {what}, found {value}");
    match value {
        Value::Array(items) => {
            let (i, item) = items.iter().enumerate().find(|(_, item)| scalar(item, kind).is_none())?;
            Some((format!("[{i}]"), wrong(item)))
        }
        scalar_value => scalar(scalar_value, kind).is_none().then(|| (String::new(), wrong(scalar_value))),
    }
}

/// Returns a scalar as a number; flags are 0 or 1. Not what is infinite or no number.
fn scalar(value: &Value, kind: ParameterKind) -> Option<f64> {
    let number = match value {
        Value::Bool(flag) => return (kind == ParameterKind::Flag).then_some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if kind == ParameterKind::Flag => {
            return match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" | "t" | "1" => Some(1.0),
                "no" | "off" | "n" | "false" | "f" | "0" => Some(0.0),
                _ => None,
            };
        }
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let fits = match kind {
        ParameterKind::Number => number.is_finite(),
        ParameterKind::Whole => number.is_finite() && number.fract() == 0.0,
        ParameterKind::Flag => number == 0.0 || (number - 1.0).abs() < f64::EPSILON,
    };
    fits.then_some(number)
}

fn plain_at(value: &Value, t: f64, kind: ParameterKind) -> Option<f64> {
    let Value::Array(items) = value else { return scalar(value, kind) };
    let last = items.len().checked_sub(1)?;
    let scaled = t * last as f64;
    let first = scaled as usize;
    let at = |i: usize| scalar(items.get(i.min(last))?, kind);
    if kind == ParameterKind::Flag {
        return at(first);
    }
    let part = scaled - first as f64;
    Some((1.0 - part) * at(first)? + part * at(first + 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_and_gradients() {
        let number = ParameterKind::Number;
        let luth = Setting(json!([{"filter": "self_attn", "value": [0, 0.5, 1]}, {"value": "1e-3"}]));
        assert_eq!(luth.mistake(number), None);
        assert_eq!(luth.at("model.layers.0.self_attn.q_proj.weight", 0.75, number), Some(0.75));
        assert_eq!(luth.at("model.norm.weight", 0.0, number), Some(0.001));
        let only = Setting(json!([{"filter": "mlp", "value": 1}]));
        assert_eq!(only.at("model.norm.weight", 0.0, number), None);
        assert_eq!(Setting(json!([3])).at("w", 1.0, number), Some(3.0));
        assert_eq!(Setting(json!([])).at("w", 1.0, number), None);
        assert_eq!(Setting(json!(["yes", false])).at("w", 0.5, ParameterKind::Flag), Some(1.0));
    }

    #[test]
    fn what_is_no_value_is_told_with_its_place() {
        let at = |value| Setting(value).mistake(ParameterKind::Number).map(|(place, _)| place);
        assert_eq!(at(json!("fast")).as_deref(), Some(""));
        assert_eq!(at(json!([1, "x"])).as_deref(), Some("[1]"));
        assert_eq!(at(json!([{"value": 1}, {"filter": "a", "value": [true]}])).as_deref(), Some("[1].value[0]"));
        assert_eq!(at(json!([{"value": 1}, 3])).as_deref(), Some("[1]"));
        assert_eq!(at(json!({"fliter": "a", "value": 1})).as_deref(), Some(""));
        assert_eq!(at(json!("nan")).as_deref(), Some(""));
    }
}
