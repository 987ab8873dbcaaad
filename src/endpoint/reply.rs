//! What came back, reduced to what is worth keeping.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What the model said.
    pub text: String,
    /// Why it stopped: `stop`, `length`, ….
    pub finish_reason: String,
    /// The tokens of the prompt, as the server counted them; 0 if it did not.
    pub prompt_tokens: u64,
    /// The tokens of the answer.
    pub completion_tokens: u64,
}

impl Reply {
    /// Reads what a server sent; the error says why it is no answer.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let whole: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
        let choice = &whole["choices"][0];
        if !choice.is_object() {
            return Err("it has no `choices`".into());
        }
        let text = match &choice["message"]["content"] {
            Value::String(text) => text.clone(),
            // What a model that stopped at once, or that only reasoned, has said.
            Value::Null if choice["message"].is_object() => String::new(),
            _ => return Err("it has no `message` with a `content`".into()),
        };
        let finish_reason = match &choice["finish_reason"] {
            Value::String(reason) => reason.clone(),
            _ => return Err("it does not say why it ended (`finish_reason`)".into()),
        };
        let count = |name: &str| whole["usage"][name].as_u64().unwrap_or(0);
        let (prompt_tokens, completion_tokens) = (count("prompt_tokens"), count("completion_tokens"));
        Ok(Self { text, finish_reason, prompt_tokens, completion_tokens })
    }

    /// Returns the tokens of the prompt and of the answer.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_told() {
        for (text, why) in [
            ("<html>", "no JSON"),
            ("{\"choices\": []}", "no `choices`"),
            ("{\"choices\": [{\"message\": {\"content\": 3}, \"finish_reason\": \"stop\"}]}", "no `message`"),
            ("{\"choices\": [{\"message\": {\"content\": \"a\"}}]}", "why it ended"),
            ("{\"error\": {\"message\": \"no\"}}", "no `choices`"),
        ] {
            let said = Reply::read(text.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let whole = "{\"choices\": [{\"message\": {\"content\": null}, \"finish_reason\": \"length\"}], \"usage\": {\"prompt_tokens\": 3}}";
        let reply = Reply::read(whole.as_bytes()).unwrap();
        assert_eq!((reply.text.as_str(), reply.finish_reason.as_str(), reply.tokens()), ("", "length", 3));
    }
}
