//! `length`: bounds on the number of characters of a row.

use super::flow::{Step, Verdict, each};
use crate::data::Row;
use crate::spec::params::Length;

pub(super) struct KeepLengths {
    pub(super) bounds: Length,
}

impl Step for KeepLengths {
    fn judge(&mut self, rows: Vec<Row>) -> Vec<Verdict> {
        let Length { min_chars, max_chars } = self.bounds;
        each(rows, |row| {
            let chars = row.chars();
            if min_chars.is_some_and(|least| chars < least as u64) {
                Verdict::Drop(row, format!("{chars} characters are too few"))
            } else if max_chars.is_some_and(|most| chars > most as u64) {
                Verdict::Drop(row, format!("{chars} characters are too many"))
            } else {
                Verdict::Keep(row)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_belong_to_the_range_and_characters_are_counted_not_bytes() {
        let mut step = KeepLengths { bounds: Length { min_chars: Some(2), max_chars: Some(3) } };
        let rows = ["é", "éé", "ééé", "éééé"].map(|text| Row::Text(text.into()));
        let kept = step.judge(rows.into()).into_iter().map(|verdict| matches!(verdict, Verdict::Keep(_)));
        assert_eq!(kept.collect::<Vec<_>>(), [false, true, true, false]);
    }
}
