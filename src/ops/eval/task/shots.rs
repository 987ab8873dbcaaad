//! Solved examples in front of a question.

use std::cell::RefCell;
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
    /// Draws for one row after the other, as lm-evaluation-harness does.
    random: RefCell<Random>,
}

/// Where lm-evaluation-harness begins; the seed of the node comes on top.
const SEED: u32 = 1234;

impl Pool {
    /// Makes examples of rows; none are needed without shots.
    pub(super) fn new(
        templates: &Templates<'_>,
        examples: &[Record],
        shots: usize,
        seed: u64,
    ) -> Result<Self, OpError> {
        let same = templates.definition.fewshot.same.clone();
        let random = RefCell::new(Random::new(SEED.wrapping_add(seed as u32)));
        let mut pool = Self { same, by_value: BTreeMap::new(), shots: Vec::new(), random };
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
    pub(super) fn choose(&self, row: &Row, prompt: &str, count: usize, order: ShotOrder) -> Vec<(String, String)> {
        if count == 0 {
            return Vec::new();
        }
        let value = self.same.as_ref().and_then(|column| row.named("", column).ok()).unwrap_or_default();
        let Some(places) = self.by_value.get(&value) else { return Vec::new() };
        let others: Vec<&(String, String)> =
            places.iter().map(|place| &self.shots[*place]).filter(|(asked, _)| asked != prompt).collect();
        match order {
            ShotOrder::First => others.into_iter().take(count).cloned().collect(),
            ShotOrder::Random => {
                let chosen = self.random.borrow_mut().sample(others.len(), count);
                chosen.into_iter().map(|place| others[place].clone()).collect()
            }
        }
    }
}
