//! Solved examples in front of a question.

use std::collections::BTreeMap;

use super::Templates;
use super::columns::Row;
use crate::data::Record;
use crate::metrics::random::Random;
use crate::ops::OpError;
use crate::spec::params::ShotOrder;

/// The examples there are, by the value that they must share with the question.
pub(super) struct Pool {
    same: Option<String>,
    /// Places of the examples, in order.
    by_value: BTreeMap<String, Vec<usize>>,
    shots: Vec<(String, String)>,
}

impl Pool {
    /// Makes examples of rows; none are needed without shots.
    pub(super) fn new(templates: &Templates<'_>, examples: &[Record], shots: usize) -> Result<Self, OpError> {
        let same = templates.definition.fewshot.same.clone();
        let mut pool = Self { same, by_value: BTreeMap::new(), shots: Vec::new() };
        if shots == 0 {
            return Ok(pool);
        }
        for row in templates.columns.rows(examples) {
            let row = row?;
            if !row.wanted {
                continue;
            }
            let value = pool.same.as_ref().map(|column| row.named(templates.task, column)).transpose()?;
            pool.by_value.entry(value.unwrap_or_default()).or_default().push(pool.shots.len());
            pool.shots.push(templates.shot(&row)?);
        }
        Ok(pool)
    }

    /// Returns the examples for a question. Rows that ask the same are left out: they would give the answer away.
    pub(super) fn choose(
        &self,
        row: &Row,
        prompt: &str,
        count: usize,
        (order, seed): (ShotOrder, u64),
    ) -> Vec<(String, String)> {
        if count == 0 {
            return Vec::new();
        }
        let value = self.same.as_ref().and_then(|column| row.named("", column).ok()).unwrap_or_default();
        let mut places = self.by_value.get(&value).cloned().unwrap_or_default();
        if order == ShotOrder::Random {
            // The seed and the place of the row decide, so that a limit changes nothing.
            let mixed =
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row.place as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
            Random::new((mixed ^ (mixed >> 32)) as u32).shuffle(&mut places);
        }
        let shots = places.into_iter().map(|place| &self.shots[place]);
        shots.filter(|(asked, _)| asked != prompt).take(count).cloned().collect()
    }
}
