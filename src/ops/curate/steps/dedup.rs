//! `dedup`: drops rows that repeat an earlier one.
//!
//! Two rows are the same if they say the same after normalisation of form, case and white space. All messages of a chat
//! count, with their roles, and both sentences of a pair. Compared are 128-bit hashes: among a thousand million rows the
//! chance that any two different ones are taken for the same is below 10^-20.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::data::{Chat, Row};
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict};
use crate::ops::curate::item::Item;
use crate::text::light;

#[derive(Default)]
pub(super) struct DropRepeats {
    seen: HashSet<[u8; 16]>,
}

impl Step for DropRepeats {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let keys: Vec<[u8; 16]> = items.par_iter().map(|item| key(item.row())).collect();
        let judge = |(item, key)| {
            if self.seen.insert(key) {
                Verdict::Keep(item)
            } else {
                Verdict::Drop(item, "repeats an earlier row".into())
            }
        };
        Ok(items.into_iter().zip(keys).map(judge).collect())
    }
}

/// Returns the hash of what a row says.
fn key(row: &Row) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    // The kind first, and every text behind its length, so that no two rows are written alike.
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    match row {
        Row::Text(text) => {
            add("text");
            add(&light(text));
        }
        Row::Chat(chat) => {
            add("chat");
            add_chat(&mut add, chat);
        }
        Row::Preference(both) => {
            add("preference");
            add_chat(&mut add, &both.chosen);
            add_chat(&mut add, &both.rejected);
        }
        Row::Pair { good, bad } => {
            add("pair");
            add(&light(good));
            add(&light(bad));
        }
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}

fn add_chat(add: &mut impl FnMut(&str), chat: &Chat) {
    for message in &chat.messages {
        add(&message.role);
        add(&light(&message.content.text()));
        for (name, value) in &message.more {
            add(name);
            add(&light(&value.to_string()));
        }
    }
    for list in [&chat.tools, &chat.documents].into_iter().flatten() {
        add(&light(&serde_json::Value::from(list.clone()).to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Message;

    #[test]
    fn the_first_of_equal_rows_stays_also_across_blocks() {
        let text = |text: &str| Item::from(Row::Text(text.into()));
        let mut step = DropRepeats::default();
        let first =
            step.judge(vec![text("L'Été  est là"), text("autre"), text(" l'e\u{301}te\u{301}\nest là ")]).unwrap();
        let kept = |verdicts: &[Verdict]| {
            verdicts.iter().map(|verdict| matches!(verdict, Verdict::Keep(_))).collect::<Vec<_>>()
        };
        assert_eq!(kept(&first), [true, true, false]);
        assert_eq!(first[0], Verdict::Keep(text("L'Été  est là")));
        assert_eq!(kept(&step.judge(vec![text("AUTRE"), text("nouveau")]).unwrap()), [false, true]);
    }

    #[test]
    fn rows_of_different_kind_or_shape_differ() {
        let turn = |role: &str, content: &str| Message::new(role, content);
        let rows = [
            Row::Text("a b".into()),
            Row::Text("ab".into()),
            Row::Chat(vec![turn("user", "a"), turn("assistant", "b")].into()),
            Row::Chat(vec![turn("assistant", "a"), turn("user", "b")].into()),
            Row::Chat(vec![turn("user", "a b")].into()),
            Row::Pair { good: "a".into(), bad: "b".into() },
            Row::Pair { good: "a".into(), bad: "c".into() },
        ];
        let keys: HashSet<[u8; 16]> = rows.iter().map(key).collect();
        assert_eq!(keys.len(), rows.len());
    }
}
