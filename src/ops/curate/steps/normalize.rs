//! `normalize`: one Unicode form, one line end, no control characters, no stray white space.
//!
//! White space *inside* a line is left alone: code is indented with it, and French sets a no-break space before `;:!?`.
//! (NFKC turns that one into a plain space; hence NFC is the default.) Minimal pairs pass unchanged: their two sentences
//! differ in what they are meant to differ in.

use std::borrow::Cow;

use crate::data::Row;
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, each};
use crate::ops::curate::item::Item;
use crate::spec::params::UnicodeForm;
use crate::text::{nfc, nfkc};

/// Most line ends in a row: one empty line between paragraphs.
const LINE_ENDS: usize = 2;

pub(super) struct Tidy {
    pub(super) form: UnicodeForm,
}

impl Step for Tidy {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let form = self.form;
        Ok(each(items, |item| tidy_item(form, item)))
    }
}

fn tidy_item(form: UnicodeForm, item: Item) -> Verdict {
    if matches!(item.row(), Row::Pair { .. }) {
        return Verdict::Keep(item);
    }
    item.rewritten(|_| true, |text| tidy(form, text))
}

fn tidy(form: UnicodeForm, text: &str) -> String {
    // Control characters go first: one between a letter and its accent would keep them apart.
    let clean = if text.chars().all(stays) { text.into() } else { Cow::from(without_controls(text)) };
    let formed = match form {
        UnicodeForm::Nfc => nfc(&clean),
        UnicodeForm::Nfkc => nfkc(&clean),
    };
    tidy_white_space(&formed)
}

/// Says whether a character is left as it is.
fn stays(c: char) -> bool {
    matches!(c, ' '..='~' | '\n' | '\t') || c > '\u{9f}' && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

/// Turns every kind of line end into one, and drops control characters.
fn without_controls(text: &str) -> String {
    let tidied = |c| match c {
        '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        c => Some(c).filter(|c| stays(*c)),
    };
    text.replace("\r\n", "\n").chars().filter_map(tidied).collect()
}

/// Drops white space at the end of lines and around the text, and empty lines after an empty line.
fn tidy_white_space(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut line_ends = 0;
    for line in text.trim().lines() {
        let line = line.trim_end();
        if !line.is_empty() {
            if !tidied.is_empty() {
                tidied.extend(std::iter::repeat_n('\n', line_ends.min(LINE_ENDS)));
            }
            tidied.push_str(line);
            line_ends = 0;
        }
        line_ends += 1;
    }
    tidied
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_tidied() {
        for (text, expected) in [
            ("e\u{301}te\u{301}", "été"),
            ("e\u{7}\u{301}", "é"),
            ("\u{FEFF}a \r\nb\r\r\r\rc\t\n", "a\nb\n\nc"),
            ("  def f():\n    return 1  ", "def f():\n    return 1"),
            ("oui\u{202F}!", "oui\u{202F}!"),
            (" \u{0}\n ", ""),
        ] {
            assert_eq!(tidy(UnicodeForm::Nfc, text), expected, "{text:?}");
        }
        assert_eq!(tidy(UnicodeForm::Nfkc, "ﬁn\u{202F}!"), "fin !");
    }

    #[test]
    fn pairs_pass_and_empty_rows_go() {
        let pair = Item::from(Row::Pair { good: " a ".into(), bad: "b\r".into() });
        assert_eq!(tidy_item(UnicodeForm::Nfc, pair.clone()), Verdict::Keep(pair));
        assert!(matches!(tidy_item(UnicodeForm::Nfc, Row::Text(" ".into()).into()), Verdict::Drop(..)));
    }

    #[test]
    fn characters_that_stay_are_no_controls() {
        for c in (0..0x3000).chain(0xfe00..0x1_0000).filter_map(char::from_u32) {
            assert_eq!(without_controls(&c.to_string()) == c.to_string(), stays(c), "{c:?}");
            assert!(!stays(c) || !c.is_control() || matches!(c, '\n' | '\t'), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn tidying_twice_is_tidying_once(text in "(?s)([ \t\r\n\u{0}-\u{20}a-eé\u{301}\u{327}ﬁ½\u{A0}\u{B4}\u{2003}\u{2028}]|.){0,40}") {
            for form in [UnicodeForm::Nfc, UnicodeForm::Nfkc] {
                let once = tidy(form, &text);
                prop_assert_eq!(tidy(form, &once), once.clone());
                prop_assert!(!once.contains('\r') && !once.contains("\n\n\n"));
            }
        }
    }
}
