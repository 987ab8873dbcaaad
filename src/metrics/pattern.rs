//! Regular expressions that task files bring, written for Python's `re`: `\s` and `\w` mean Python's, and looking ahead or behind
//! is allowed. What such an expression cannot decide within a bounded number of steps it has not found.

use regex::Regex;

use super::python;

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(Engine);

#[derive(Debug, Clone)]
enum Engine {
    /// In time that grows with the text.
    Plain(Regex),
    /// With looking around, by trial, up to a million steps for each place that is found.
    Looking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles an expression, or says why it is none.
    pub fn new(source: &str) -> Result<Self, String> {
        let source = python::translated(source);
        if let Ok(plain) = Regex::new(&source) {
            return Ok(Self(Engine::Plain(plain)));
        }
        match fancy_regex::Regex::new(&source) {
            Ok(looking) => Ok(Self(Engine::Looking(Box::new(looking)))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The first, or the last, place where it is found: of its groups the first that holds something, all of it if it has no
    /// groups, without spaces around. lm-evaluation-harness's filter `regex`.
    pub fn pick<'a>(&self, text: &'a str, last: bool) -> Option<&'a str> {
        let part = match &self.0 {
            Engine::Plain(plain) => {
                let mut found = plain.captures_iter(text);
                let found = if last { found.last() } else { found.next() }?;
                let mut groups = found.iter().skip(1).flatten().map(|group| group.as_str());
                if found.len() == 1 {
                    Some(&text[found.get(0)?.range()])
                } else {
                    groups.find(|group| !group.is_empty())
                }
            }
            Engine::Looking(looking) => {
                let mut found = looking.captures_iter(text).map_while(Result::ok);
                let found = if last { found.last() } else { found.next() }?;
                let mut groups = found.iter().skip(1).flatten().map(|group| group.as_str());
                if found.len() == 1 {
                    Some(&text[found.get(0)?.range()])
                } else {
                    groups.find(|group| !group.is_empty())
                }
            }
        };
        part.map(python::strip)
    }

    /// The text without what the expression finds.
    pub fn removed(&self, text: &str) -> String {
        match &self.0 {
            Engine::Plain(plain) => plain.replace_all(text, "").into_owned(),
            Engine::Looking(looking) => {
                looking.try_replacen(text, 0, "").map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_as_the_harness_does() {
        let strict = Pattern::new(r"#### (\-?[0-9\.\,]+)").unwrap();
        assert_eq!(strict.pick("#### 1,000 and #### 7", false), Some("1,000"));
        let flexible = Pattern::new(r"(-?[$0-9.,]{2,})|(-?[0-9]+)").unwrap();
        assert_eq!(flexible.pick("3 apples, $12.50 and 4", true), Some("4"));
        assert_eq!(flexible.pick("none", true), None);
        let looking = Pattern::new(r"(?<=The answer is )(.*)(?=.)").unwrap();
        assert_eq!(looking.pick("So. The answer is  (B).", false), Some("(B)"));
        assert_eq!(Pattern::new(r"\d+").unwrap().pick("a 12", false), Some("12"));
        assert!(Pattern::new("(").is_err());
    }

    #[test]
    fn what_takes_too_long_is_not_found() {
        let slow = Pattern::new(r"(?=(a+)+$)(b)").unwrap();
        assert_eq!(slow.pick(&format!("{}!", "a".repeat(5000)), false), None);
        assert_eq!(slow.removed("xyz"), "xyz");
        assert_eq!(Pattern::new("(?<=a)b").unwrap().removed("abb"), "ab");
    }
}
