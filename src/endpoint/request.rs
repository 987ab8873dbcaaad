//! What is asked, and what identifies it.

use serde_json::{Map, Value, json};

use crate::digest::{Digest, value_digest};

/// Raised when the same request comes to mean something else.
const VERSION: u32 = 1;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The name of the model.
    pub model: String,
    /// Which state of it.
    pub revision: Option<String>,
    /// The conversation: `[{"role": …, "content": …}]`.
    pub messages: Vec<Value>,
    /// Everything else that is sent: `temperature`, `max_tokens`, `response_format`, ….
    pub params: Map<String, Value>,
    /// Which of several answers to the same question it is.
    pub sample: u32,
}

impl Request {
    /// Returns what identifies the request: all that decides the answer, and neither the server nor its key.
    pub fn key(&self) -> Digest {
        value_digest(&json!({
            "version": VERSION,
            "model": self.model,
            "revision": self.revision,
            "messages": self.messages,
            "params": self.params,
            "sample": self.sample,
        }))
    }

    /// Returns what is sent.
    pub(super) fn body(&self) -> String {
        let mut body = Map::from_iter([
            ("model".to_owned(), Value::from(self.model.as_str())),
            ("messages".to_owned(), Value::from(self.messages.as_slice())),
        ]);
        body.extend(self.params.clone());
        if self.sample > 0
            && let Some(seed) = body.get("seed").and_then(Value::as_u64)
        {
            // The same seed would bring the same answer again.
            body.insert("seed".into(), seed.wrapping_add(u64::from(self.sample)).into());
        }
        Value::Object(body).to_string()
    }

    /// Returns about how many tokens the prompt has: four bytes each.
    pub(super) fn size(&self) -> f64 {
        let bytes: usize = self.messages.iter().map(|message| message["content"].as_str().map_or(0, str::len)).sum();
        bytes as f64 / 4.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            model: "m".into(),
            revision: None,
            messages: vec![json!({"role": "user", "content": "é?"})],
            params: serde_json::from_value(json!({"seed": 7, "top_p": 0.5})).unwrap(),
            sample: 0,
        }
    }

    /// A change makes everybody pay for all answers once more.
    #[test]
    fn keys_stay_what_they_are() {
        assert_eq!(request().key().hex(), KEY);
    }

    const KEY: &str = "8adde2beff6b8701e465d83c78db198cd2a98aae4081d3881daf032657853759";

    #[test]
    fn what_decides_the_answer_is_in_the_key() {
        let changes: [fn(&mut Request); 5] = [
            |request| request.model = "n".into(),
            |request| request.revision = Some("2".into()),
            |request| request.messages.clear(),
            |request| {
                request.params.insert("top_p".into(), 0.6.into());
            },
            |request| request.sample = 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = request();
            change(&mut changed);
            assert_ne!(changed.key(), request().key(), "{number}");
        }
        let mut turned = request();
        turned.params = serde_json::from_value(json!({"top_p": 0.5, "seed": 7})).unwrap();
        assert_eq!(turned.key(), request().key(), "the order of settings does not count");
    }

    #[test]
    fn samples_have_seeds_of_their_own() {
        let body = |sample| serde_json::from_str::<Value>(&Request { sample, ..request() }.body()).unwrap();
        assert_eq!(
            body(0),
            json!({"model": "m", "messages": [{"role": "user", "content": "é?"}], "seed": 7, "top_p": 0.5})
        );
        assert_eq!(body(2)["seed"], 9);
    }
}
