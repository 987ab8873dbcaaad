//! The digest of a JSON value, the same whoever wrote it and in whatever order.
//!
//! Node keys are made with this. JSON text would not do: its spacing, the order of its object keys and its spelling of
//! numbers vary between two writers of one value. The encoding, little-endian throughout:
//!
//! | value | bytes |
//! |---|---|
//! | start | `luthflow value 1\n` |
//! | null, false, true | `00`, `01`, `02` |
//! | integer, not negative | `03` and 8 bytes unsigned |
//! | integer, negative | `04` and 8 bytes two's complement |
//! | float | `05` and the 8 bytes of its IEEE 754 bits; -0 counts as 0 |
//! | text | `06`, its length in bytes (8 bytes), its UTF-8 |
//! | list | `07`, its count (8 bytes), its items **in order** |
//! | object | `08`, its count, then key as text and value, sorted by the bytes of the keys |
//!
//! Every value begins with its tag and says its length, so two different values never share an encoding. `1` and `1.0`
//! differ, as serde_json holds them as two types: settings therefore pass through their typed struct before they are
//! hashed, so that a learning rate written `1` is the float that the struct makes of it. JSON has no NaN and no infinity.

use serde_json::{Map, Number, Value};

use super::Digest;

const START: &[u8] = b"luthflow value 1\n";

/// Returns the digest of a JSON value: the order of object keys does not count, the order of lists does.
pub fn value_digest(value: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(START);
    encode(value, &mut hasher);
    hasher.finalize().into()
}

fn encode(value: &Value, hasher: &mut blake3::Hasher) {
    match value {
        Value::Null => tag(0, hasher),
        Value::Bool(false) => tag(1, hasher),
        Value::Bool(true) => tag(2, hasher),
        Value::Number(number) => encode_number(number, hasher),
        Value::String(text) => {
            tag(6, hasher);
            encode_text(text, hasher);
        }
        Value::Array(items) => {
            tag(7, hasher);
            encode_length(items.len(), hasher);
            for item in items {
                encode(item, hasher);
            }
        }
        Value::Object(map) => encode_object(map, hasher),
    }
}

fn encode_number(number: &Number, hasher: &mut blake3::Hasher) {
    if let Some(unsigned) = number.as_u64() {
        tag(3, hasher);
        hasher.update(&unsigned.to_le_bytes());
    } else if let Some(signed) = number.as_i64() {
        tag(4, hasher);
        hasher.update(&signed.to_le_bytes());
    } else {
        // Without serde_json's `arbitrary_precision` all that is left is a finite float.
        let float = number.as_f64().unwrap_or(f64::NAN);
        tag(5, hasher);
        hasher.update(&(if float == 0.0 { 0.0 } else { float }).to_bits().to_le_bytes());
    }
}

fn encode_object(map: &Map<String, Value>, hasher: &mut blake3::Hasher) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    tag(8, hasher);
    encode_length(entries.len(), hasher);
    for (key, value) in entries {
        encode_text(key, hasher);
        encode(value, hasher);
    }
}

fn encode_text(text: &str, hasher: &mut blake3::Hasher) {
    encode_length(text.len(), hasher);
    hasher.update(text.as_bytes());
}

fn encode_length(length: usize, hasher: &mut blake3::Hasher) {
    hasher.update(&(length as u64).to_le_bytes());
}

fn tag(tag: u8, hasher: &mut blake3::Hasher) {
    hasher.update(&[tag]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn key_order_and_spacing_do_not_count_and_list_order_does() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":{"x":[1,2],"y":null}}"#).unwrap();
        let b: Value = serde_json::from_str(r#" { "b" : {"y":null, "x":[1 , 2]}, "a":1 }"#).unwrap();
        assert_eq!(value_digest(&a), value_digest(&b));
        assert_ne!(value_digest(&json!([1, 2])), value_digest(&json!([2, 1])));
    }

    #[test]
    fn neighbours_in_meaning_stay_apart() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(1.0),
            json!(0.0),
            json!(""),
            json!("1"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([1]),
            json!(["ab", "c"]),
            json!(["a", "bc"]),
            json!({"a": "b"}),
            json!(["a", "b"]),
            json!({"ab": ""}),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(i64::MAX),
        ];
        for (index, one) in values.iter().enumerate() {
            for other in &values[index + 1..] {
                assert_ne!(value_digest(one), value_digest(other), "{one} and {other}");
            }
        }
        assert_eq!(value_digest(&json!(-0.0)), value_digest(&json!(0.0)));
    }

    /// These literals guard every cache in the world: a change here makes all of them stale. They were computed a second
    /// time by a Python program written from the table above.
    #[test]
    fn golden_digests() {
        let golden = |value: &Value| value_digest(value).hex();
        let settings = json!({
            "kind": "sft", "version": 3, "learning_rate": 2e-5, "seed": 42, "shift": -7, "packing": true, "resume": null,
            "data": ["corpus.train", "été"],
        });
        assert_eq!(golden(&json!(null)), "af8e2747d64dbae253020be4e087a381d2464ee4511cda1704dc253c81ac69ce");
        assert_eq!(golden(&settings), "0d323512a503fa3fcede501b2f665357229e99287c6fa7a1c344e27566d8ba50");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300_f64).prop_map(Value::from),
            "[a-c\u{e9}]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Returns the value with the keys of all its objects in the opposite order.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(reversed).collect(),
            Value::Object(map) => Value::Object(map.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect()),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn json_text_and_key_order_keep_the_digest(value in any_value()) {
            let pretty = serde_json::to_string_pretty(&reversed(&value)).unwrap();
            let back: Value = serde_json::from_str(&pretty).unwrap();
            prop_assert_eq!(value_digest(&back), value_digest(&value));
        }

        #[test]
        fn equal_digests_mean_equal_values(a in any_value(), b in any_value()) {
            prop_assert_eq!(value_digest(&a) == value_digest(&b), a == b);
        }
    }
}
