//! Which of several alike rows stays.

use rayon::prelude::*;

use crate::data::Expression;
use crate::ops::OpError;
use crate::ops::curate::item::Item;
use crate::ops::curate::steps::{View, expression, failed};
use crate::spec::params::KeepRule;

/// Where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    from: u32,
    number: u32,
}

/// What the rules look at, of every row.
pub(in crate::ops::curate) struct Ranks {
    rules: Vec<KeepRule>,
    score: Option<(String, Expression)>,
    entries: Vec<String>,
    priorities: Vec<i64>,
    places: Vec<Place>,
    scores: Vec<f64>,
    lengths: Vec<u32>,
    /// How many rows come from elsewhere: they are the first, and stay before all others.
    others: u32,
}

impl Ranks {
    /// Returns the ranks of no rows; `entries` and `priorities` are those of `from`.
    pub(in crate::ops::curate) fn new(
        rules: &[KeepRule],
        score: Option<&String>,
        (entries, priorities): (&[String], &[i64]),
    ) -> Result<Self, OpError> {
        let read = |source: &String| expression("score", source).map(|read| (source.clone(), read));
        Ok(Self {
            rules: rules.to_vec(),
            score: score.map(read).transpose()?,
            entries: entries.to_vec(),
            priorities: priorities.to_vec(),
            places: Vec::new(),
            scores: Vec::new(),
            lengths: Vec::new(),
            others: 0,
        })
    }

    pub(in crate::ops::curate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds rows; `other` ones come from elsewhere, before all others.
    pub(in crate::ops::curate) fn push(&mut self, items: &[Item], other: bool) -> Result<(), OpError> {
        if let Some((source, score)) = &self.score {
            let of = |item: &Item| {
                if other {
                    return Ok(0.0);
                }
                let value = score.value(&View { item, entries: &self.entries });
                let number = value.and_then(|value| value.as_f64().ok_or_else(|| format!("{value} is no number")));
                number.map_err(|why| failed(source, item, &why))
            };
            let scores: Vec<Result<f64, OpError>> = items.par_iter().map(of).collect();
            self.scores.extend(scores.into_iter().collect::<Result<Vec<f64>, OpError>>()?);
        }
        if self.rules.contains(&KeepRule::Longest) {
            self.lengths.par_extend(items.par_iter().map(|item| item.chars().min(u64::from(u32::MAX)) as u32));
        }
        self.others += if other { items.len() as u32 } else { 0 };
        self.places.extend(items.iter().map(|item| Place { from: item.from, number: item.number as u32 }));
        Ok(())
    }

    /// Returns whether a row stays before another one.
    pub(in crate::ops::curate) fn better(&self, row: u32, other: u32) -> bool {
        if (row < self.others) != (other < self.others) {
            return row < self.others;
        }
        let (one, two) = (row as usize, other as usize);
        let priority = |row: usize| self.priorities.get(self.places[row].from as usize).copied().unwrap_or(0);
        for rule in &self.rules {
            let order = match rule {
                KeepRule::Priority => priority(one).cmp(&priority(two)),
                KeepRule::Score => self.scores[one].total_cmp(&self.scores[two]),
                KeepRule::Longest => self.lengths[one].cmp(&self.lengths[two]),
                KeepRule::First | KeepRule::Datatrove => two.cmp(&one),
            };
            if order.is_ne() {
                return order.is_gt();
            }
        }
        row < other
    }

    /// Says where a row came from.
    pub(in crate::ops::curate) fn place(&self, row: u32) -> String {
        let Place { from, number } = self.places[row as usize];
        if row < self.others {
            return "a row of `against`".to_owned();
        }
        format!("row {number} of {}", self.entries.get(from as usize).map_or("", String::as_str))
    }
}
