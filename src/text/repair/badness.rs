//! Whether text looks as if it had been decoded wrongly: pairs of characters that no language puts side by side.

use std::sync::LazyLock;

use regex::Regex;

use super::tables::BAD;

static ANY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&BAD.join("|")).ok());

/// Whether the text has such a pair.
pub fn is_bad(text: &str) -> bool {
    !text.is_ascii() && ANY.as_ref().is_some_and(|any| any.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_french_is_good() {
        assert!(ANY.is_some());
        assert!(is_bad("voilÃ  le travail"));
        assert!(!is_bad("« L’été, où l’œuvre naïve coûta 3 € — ça ! »"));
    }
}
