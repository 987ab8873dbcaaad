//! Texts after which an answer ends, wherever the borders of tokens lie.
//!
//! A stop text may come in pieces. What could be its beginning is held back, so that nothing of it is ever shown.

/// Passes text on until one of the stop texts comes.
#[derive(Debug)]
pub(super) struct StopText<'a> {
    stops: &'a [String],
    held: String,
    found: Option<&'a str>,
}

impl<'a> StopText<'a> {
    pub(super) fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new(), found: None }
    }

    /// Adds text; returns what of it may be shown. Behind a stop text nothing is.
    pub(super) fn push(&mut self, text: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(text);
        let places = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.as_str())));
        // The first place; of several there, the longest text.
        if let Some((at, stop)) = places.min_by_key(|(at, stop)| (*at, std::cmp::Reverse(stop.len()))) {
            self.found = Some(stop);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns what was held back: no stop text came of it.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the stop text that came.
    pub(super) fn found(&self) -> Option<&'a str> {
        self.found
    }
}

/// Returns how many bytes at the end of a text begin the stop text.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    let fits = |length: &usize| stop.is_char_boundary(*length) && text.ends_with(&stop[..*length]);
    (1..=longest).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stop_text_is_found_across_pieces_and_never_shown() {
        let stops = ["\n\nQ:".to_owned(), "été".to_owned()];
        let mut text = StopText::new(&stops);
        let shown: Vec<String> = ["a\n", "\n", "b ét", "a\n\nQ", ": x"].map(|piece| text.push(piece)).into();
        assert_eq!(shown, ["a", "", "\n\nb ", "éta", ""]);
        assert_eq!(text.found(), Some("\n\nQ:"));
        assert_eq!((text.push("more"), text.finish()), (String::new(), String::new()));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(pieces in prop::collection::vec("[abé]{0,4}", 0..12), stop in "[abé]{1,4}") {
            let whole = pieces.concat();
            let stops = [stop];
            let mut text = StopText::new(&stops);
            let mut shown: String = pieces.iter().map(|piece| text.push(piece)).collect();
            shown += &text.finish();
            let expected = whole.find(&stops[0]).map_or(&whole[..], |at| &whole[..at]);
            prop_assert_eq!(shown, expected);
        }
    }
}
