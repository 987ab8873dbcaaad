//! The texts of a row, and taking passages out of them.

use std::borrow::Cow;

use crate::data::{Content, Row};

/// Where a passage begins in a text, and where it ends.
pub(super) type Span = (usize, usize);

/// Returns the texts of a row one by one, in the order in which [`without`] changes them.
pub(super) fn texts(row: &Row) -> Vec<Cow<'_, str>> {
    match row {
        Row::Text(text) => vec![text.into()],
        Row::Chat(chat) => chat.messages.iter().map(|message| message.content.text()).collect(),
        // Answers are alike by nature.
        Row::Preference(_) | Row::Pair { .. } => Vec::new(),
    }
}

/// Joins repetitions that overlap or touch, and cuts what they are inwards to whole characters.
pub(super) fn spans(text: &str, mut repeated: Vec<Span>) -> Vec<Span> {
    repeated.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for (from, to) in repeated {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    let inwards = |(from, to): Span| (text.ceil_char_boundary(from), text.floor_char_boundary(to));
    joined.into_iter().map(inwards).filter(|(from, to)| from < to).collect()
}

/// Cuts passages out of the texts of a row.
pub(super) fn without(row: &mut Row, passages: &[Vec<Span>]) {
    let cut = |text: &str, spans: &[Span]| {
        let (mut rest, mut from) = (String::new(), 0);
        for &(begin, end) in spans {
            rest.push_str(&text[from..begin]);
            from = end;
        }
        rest + &text[from..]
    };
    match row {
        Row::Text(text) => *text = cut(text, &passages[0]),
        Row::Chat(chat) => {
            for (message, spans) in chat.messages.iter_mut().zip(passages).filter(|(_, spans)| !spans.is_empty()) {
                message.content = Content::Text(cut(&message.content.text(), spans));
            }
        }
        Row::Preference(_) | Row::Pair { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_are_cut_at_whole_characters() {
        let text = "éé mer";
        assert_eq!(spans(text, vec![(3, 5), (1, 3)]), [(2, 5)]);
        assert_eq!(spans(text, vec![(1, 2), (3, 4)]), []);
        let mut row = Row::Text(text.into());
        without(&mut row, &[vec![(2, 5)]]);
        assert_eq!(row, Row::Text("émer".into()));
    }
}
