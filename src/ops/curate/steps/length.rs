//! `length`: bounds on the number of characters of a row.

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, each};
use crate::ops::curate::item::Item;
use crate::spec::params::Length;

pub(super) struct KeepLengths {
    pub(super) bounds: Length,
}

impl Step for KeepLengths {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let Length { min_chars, max_chars, min_words, max_words, .. } = self.bounds;
        let counts_words = min_words.is_some() || max_words.is_some();
        Ok(each(items, |item| {
            let chars = item.row().chars();
            let outside = outside(chars, "characters", min_chars, max_chars).or_else(|| {
                let words = if counts_words { item.row().text().split_whitespace().count() as u64 } else { 0 };
                outside(words, "words", min_words, max_words)
            });
            match outside {
                Some(reason) => Verdict::Drop(item, reason.into()),
                None => Verdict::Keep(item),
            }
        }))
    }
}

/// Says why a count is out of bounds, if it is.
fn outside(count: u64, unit: &str, min: Option<usize>, max: Option<usize>) -> Option<String> {
    if min.is_some_and(|least| count < least as u64) {
        Some(format!("{count} {unit} are too few"))
    } else if max.is_some_and(|most| count > most as u64) {
        Some(format!("{count} {unit} are too many"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Row;

    #[test]
    fn both_bounds_belong_to_the_range_and_characters_are_counted_not_bytes() {
        let mut step = KeepLengths { bounds: Length { min_chars: Some(2), max_chars: Some(3), ..Length::default() } };
        let rows = ["é", "éé", "ééé", "éééé"].map(|text| Item::from(Row::Text(text.into())));
        let kept = step.judge(rows.into()).unwrap().into_iter().map(|verdict| matches!(verdict, Verdict::Keep(_)));
        assert_eq!(kept.collect::<Vec<_>>(), [false, true, true, false]);
    }
}
