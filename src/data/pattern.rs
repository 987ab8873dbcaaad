//! Regular expressions in the dialect of Python's `re`, near enough: the patterns in adapters and in MergeKit's options
//! were written for it.
//!
//! The engine is the one that tokenizers bring along: it knows look-around and back references, as Python does.

/// A regular expression.
#[derive(Debug)]
pub struct Pattern(tokenizers::utils::SysRegex);

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        tokenizers::utils::SysRegex::new(text).map(Self).map_err(|error| error.to_string())
    }

    /// Reads a pattern that a text must match whole.
    pub fn whole(text: &str) -> Result<Self, String> {
        // Alone first, or a parenthesis too many would close ours.
        Self::new(text)?;
        Self::new(&format!(r"\A(?:{text})\z"))
    }

    /// Returns whether the pattern matches anywhere in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.find_iter(text).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_or_matches_whole() {
        let anywhere = Pattern::new(r"layers\.[01]\.").unwrap();
        assert!(anywhere.is_in("model.layers.1.mlp") && !anywhere.is_in("model.layers.2.mlp"));
        let whole = Pattern::whole(r"(.*\.)?q_proj|k_proj").unwrap();
        assert!(whole.is_in("a.q_proj") && whole.is_in("k_proj"));
        assert!(!whole.is_in("q_proj.weight") && !whole.is_in("a.k_proj"));
        assert!(Pattern::new("(").is_err() && Pattern::whole("a)|(b").is_err());
    }
}
