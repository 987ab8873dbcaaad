//! How much longer a text may become in a tokenizer.
//!
//! `tokenizer.json` may replace each letter by a thousand others, three times over: thirty letters then fill the memory. Real
//! ones write `▁` for a space and put one before a text. So what is replaced is looked at before any text is.

use serde_json::Value;
use tokenizers::Tokenizer;

/// How many times longer replacements may make a text, all together. Gemma's make it three times longer.
const MOST: f64 = 64.0;
/// The longest text that may be put before each text, in bytes.
const LONGEST: usize = 1000;

/// Fails if a tokenizer would make texts very much longer, on the way in or on the way out.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<(), String> {
    let parts = [
        ("normalizer", serde_json::to_value(tokenizer.get_normalizer())),
        ("pre_tokenizer", serde_json::to_value(tokenizer.get_pre_tokenizer())),
        ("decoder", serde_json::to_value(tokenizer.get_decoder())),
    ];
    for (name, part) in parts {
        let mut times = 1.0;
        grows(&part.map_err(|error| error.to_string())?, &mut times)
            .map_err(|reason| format!("its {name} {reason}"))?;
        if times > MOST {
            return Err(format!("its {name} would make a text {times:.0} times longer; {MOST} times can be run"));
        }
    }
    Ok(())
}

/// Multiplies by what the replacements of a part come to.
fn grows(part: &Value, times: &mut f64) -> Result<(), String> {
    match part {
        Value::Array(parts) => parts.iter().try_for_each(|part| grows(part, times)),
        Value::Object(fields) => {
            let content = fields.get("content").and_then(Value::as_str).map_or(0, str::len);
            let prepended = fields.get("prepend").and_then(Value::as_str).map_or(0, str::len);
            if prepended > LONGEST {
                return Err(format!("would put {prepended} bytes before each text"));
            }
            if fields.get("type").is_some_and(|kind| kind == "Replace") {
                // What an expression finds may be one letter long, and what is empty is found everywhere.
                let found = fields["pattern"]["String"].as_str().map_or(1, str::len);
                let longer = content as f64 / found.max(1) as f64;
                *times *= if found == 0 { longer + 1.0 } else { longer.max(1.0) };
            }
            fields.values().try_for_each(|part| grows(part, times))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn times(part: &Value) -> f64 {
        let mut times = 1.0;
        grows(part, &mut times).unwrap();
        times
    }

    #[test]
    fn replacements_multiply() {
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        assert!((times(&replace(" ", "▁")) - 3.0).abs() < 1e-9);
        assert!((times(&replace("▁", " ")) - 1.0).abs() < 1e-9);
        let all =
            json!({"type": "Sequence", "normalizers": [replace("a", "bb"), {"type": "NFC"}, replace("b", "ccc")]});
        assert!((times(&all) - 6.0).abs() < 1e-9);
        assert!((times(&replace("", "bb")) - 3.0).abs() < 1e-9);
        let expression = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "xyz"});
        assert!((times(&expression) - 3.0).abs() < 1e-9);
        assert!(grows(&json!({"type": "Prepend", "prepend": "x".repeat(2000)}), &mut 1.0).is_err());
    }
}
