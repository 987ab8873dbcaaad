//! What of a row is compared, in which form, and cut into which pieces.

use std::borrow::Cow;

use super::scheme::{Scheme, Signature};
use crate::data::{Chat, Row};
use crate::spec::params::{DedupFuzzy, DuplicateKey, ShingleUnit, ShortRows, TextForm};

/// What rows are compared by.
pub(super) struct Shingler {
    key: DuplicateKey,
    form: TextForm,
    unit: ShingleUnit,
    ngram: usize,
    short: ShortRows,
    scheme: Scheme,
}

/// Returns what of a row is compared.
pub(in super::super) fn compared(row: &Row, key: DuplicateKey) -> Cow<'_, str> {
    let of_role = |chat: &Chat, role: &str| {
        let said = chat.messages.iter().filter(|message| message.role == role);
        said.map(|message| message.content.text()).collect::<Vec<_>>().join("\n").into()
    };
    match (row, key) {
        (Row::Chat(chat), DuplicateKey::Prompt) => of_role(chat, "user"),
        (Row::Chat(chat), DuplicateKey::Response) => of_role(chat, "assistant"),
        (Row::Preference(both), DuplicateKey::Prompt) => of_role(&both.chosen, "user"),
        (Row::Preference(both), DuplicateKey::Response) => of_role(&both.chosen, "assistant"),
        _ => row.text(),
    }
}

/// Brings text to a form.
pub(in super::super) fn in_form(text: &str, form: TextForm) -> Cow<'_, str> {
    match form {
        TextForm::None => text.into(),
        TextForm::Light => crate::text::light(text).into(),
        TextForm::Datatrove => {
            let mut simple = String::new();
            crate::text::simplify_into(text, &mut simple);
            simple.into()
        }
    }
}

impl Shingler {
    /// Returns what a step with these settings compares rows by, with signatures of `values` values.
    pub(super) fn new(settings: &DedupFuzzy, values: usize) -> Self {
        Self {
            key: settings.key,
            form: settings.normalize,
            unit: settings.unit,
            ngram: settings.ngram,
            short: settings.short_rows,
            scheme: Scheme::new(settings.scheme, values, settings.seed),
        }
    }

    /// Returns how many bytes a value of a signature has.
    pub(super) fn value_bytes(&self) -> usize {
        self.scheme.value_bytes()
    }

    /// Returns the hashes of a row's shingles, which may repeat; none if it is too short and such rows stay.
    pub(super) fn shingles(&self, row: &Row) -> Vec<u64> {
        let mut desk = Desk::default();
        self.shingle(row, &mut desk);
        desk.hashes
    }

    /// Returns the signature of a row; none if it is too short and such rows stay.
    pub(super) fn signature(&self, row: &Row, desk: &mut Desk) -> Option<Signature> {
        self.shingle(row, desk);
        (!desk.hashes.is_empty()).then(|| self.scheme.sign(&desk.hashes))
    }

    /// Puts the hashes of a row's shingles on the desk.
    fn shingle(&self, row: &Row, desk: &mut Desk) {
        let Desk { simple, pieces, hashes } = desk;
        let said = compared(row, self.key);
        let text: Cow<'_, str> = if self.form == TextForm::Datatrove {
            crate::text::simplify_into(&said, simple);
            simple.as_str().into()
        } else {
            in_form(&said, self.form)
        };
        pieces.clear();
        hashes.clear();
        match (self.unit, self.form) {
            (ShingleUnit::Word, TextForm::Datatrove) => words_between_spaces(&text, pieces),
            (ShingleUnit::Word, _) => words(&text, pieces),
            (ShingleUnit::Char, _) => pieces.extend(text.char_indices().map(|(at, c)| (at, at + c.len_utf8()))),
        }
        let bytes = text.as_bytes();
        let windows = pieces.windows(self.ngram);
        if windows.len() == 0 && self.short == ShortRows::Exact {
            hashes.push(self.scheme.shingle(bytes));
        }
        hashes.extend(windows.map(|window| self.scheme.shingle(&bytes[window[0].0..window[window.len() - 1].1])));
    }
}

/// What is needed again for every row.
#[derive(Default)]
pub(super) struct Desk {
    simple: String,
    /// Where words, or characters, lie.
    pieces: Vec<(usize, usize)>,
    hashes: Vec<u64>,
}

/// Adds where the words of simplified text lie, which knows no white space but spaces.
fn words_between_spaces(text: &str, all: &mut Vec<(usize, usize)>) {
    let mut from = 0;
    for at in memchr::memchr_iter(b' ', text.as_bytes()).chain([text.len()]) {
        if at > from {
            all.push((from, at));
        }
        from = at + 1;
    }
}

/// Adds where the words of a text lie. A shingle's hash covers what white space lies between its words.
fn words(text: &str, all: &mut Vec<(usize, usize)>) {
    let mut begun = None;
    for (at, c) in text.char_indices() {
        match (c.is_whitespace(), begun) {
            (true, Some(from)) => {
                all.push((from, at));
                begun = None;
            }
            (false, None) => begun = Some(at),
            _ => {}
        }
    }
    all.extend(begun.map(|from| (from, text.len())));
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn simplified_text_has_no_white_space_but_spaces(
            text in r"(\PC|[a-z .,\n\t]|[\u{1}-\u{A0}\u{1680}\u{2000}-\u{2030}\u{3000}\u{FEFF}\u{37E}\u{1FEF}]){0,60}",
        ) {
            let simple = in_form(&text, TextForm::Datatrove);
            let (mut between, mut all) = (Vec::new(), Vec::new());
            words_between_spaces(&simple, &mut between);
            words(&simple, &mut all);
            proptest::prop_assert_eq!(between, all);
        }
    }
}
