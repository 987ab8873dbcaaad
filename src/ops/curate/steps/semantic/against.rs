//! The rows of other data sets that no row may be like: where they lie, how they begin, and which rows came too near.
//!
//! They are called by their place in `against` and not by the names of their nodes: a name is no part of what a node makes.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::alike::Fate;

/// How many hits the report names.
const REPORTED: usize = 50;

/// The data sets, and what came too near to them.
#[derive(Default)]
pub(super) struct Against {
    sets: Vec<Set>,
    /// How each of their rows begins, one set after the other.
    beginnings: Vec<String>,
    hits: Vec<Hit>,
}

#[derive(Default)]
struct Set {
    /// Its first row among all.
    first: u32,
    /// Its rows that another one is like.
    found: BTreeSet<u32>,
    /// The rows that are like one of its own.
    rows: u64,
}

/// A row that came too near, as the report shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Hit {
    against: String,
    against_row: u32,
    against_text: String,
    source: String,
    row: u64,
    text: String,
    cosine: f64,
}

impl Against {
    /// Begins another data set.
    pub(super) fn begin(&mut self) {
        self.sets.push(Set { first: self.rows(), ..Set::default() });
    }

    /// Adds rows of the data set that was begun last, by how they begin.
    pub(super) fn extend(&mut self, beginnings: impl Iterator<Item = String>) {
        self.beginnings.extend(beginnings);
    }

    /// Returns how many rows there are.
    pub(super) fn rows(&self) -> u32 {
        self.beginnings.len() as u32
    }

    /// Returns the data set of a row, and the row's number there, from 1.
    fn place(&self, row: u32) -> (usize, u32) {
        let set = self.sets.partition_point(|set| set.first <= row).saturating_sub(1);
        (set, row - self.sets[set].first + 1)
    }

    /// Says where a row lies.
    pub(super) fn said(&self, row: u32) -> String {
        let (set, number) = self.place(row);
        format!("row {number} of against[{set}]")
    }

    /// Takes down that a row, of which the model read `text`, is like one of these.
    pub(super) fn hit(&mut self, fate: Fate, (source, row): (&str, u64), text: String) {
        let (at, number) = self.place(fate.like);
        let set = &mut self.sets[at];
        set.found.insert(number);
        set.rows += 1;
        self.hits.push(Hit {
            against: format!("against[{at}]"),
            against_row: number,
            against_text: self.beginnings[fate.like as usize].clone(),
            source: source.to_owned(),
            row,
            text,
            cosine: (f64::from(fate.cosine) * 1e4).round() / 1e4,
        });
        if self.hits.len() > 2 * REPORTED {
            self.hits = self.nearest();
        }
    }

    /// Returns the nearest hits, the first of equals first.
    fn nearest(&self) -> Vec<Hit> {
        let mut hits = self.hits.clone();
        hits.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        hits.truncate(REPORTED);
        hits
    }

    /// Puts what is known into the figures of the step; nothing where there is no data set.
    pub(super) fn report(&self, figures: &mut Value) {
        if self.sets.is_empty() {
            return;
        }
        let ends = self.sets.iter().skip(1).map(|set| set.first).chain([self.rows()]);
        let about = |(at, (set, end)): (usize, (&Set, u32))| {
            let about = json!({"rows": end - set.first, "rows_found": set.found.len(), "rows_alike": set.rows});
            (format!("against[{at}]"), about)
        };
        let sets: Map<String, Value> = self.sets.iter().zip(ends).enumerate().map(about).collect();
        figures["against"] = sets.into();
        figures["nearest"] = json!(self.nearest());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_their_set_and_the_nearest_are_told() {
        let mut against = Against::default();
        for rows in [3, 0, 2] {
            against.begin();
            against.extend((0..rows).map(|row| format!("text {row}")));
        }
        let places: Vec<String> = (0..5).map(|row| against.said(row)).collect();
        assert_eq!(
            places.join(", "),
            "row 1 of against[0], row 2 of against[0], row 3 of against[0], row 1 of against[2], row 2 of against[2]"
        );
        for row in 0..120_u16 {
            let cosine = 0.9 + f32::from(row % 97) / 1000.0;
            against.hit(Fate { like: u32::from(row % 5), cosine }, ("a", u64::from(row)), "b".into());
        }
        let mut figures = json!({});
        against.report(&mut figures);
        let of = |at: &str| figures["against"][at].clone();
        assert_eq!(of("against[0]"), json!({"rows": 3, "rows_found": 3, "rows_alike": 72}));
        assert_eq!(of("against[1]"), json!({"rows": 0, "rows_found": 0, "rows_alike": 0}));
        assert_eq!(of("against[2]"), json!({"rows": 2, "rows_found": 2, "rows_alike": 48}));
        let nearest = figures["nearest"].as_array().unwrap();
        assert_eq!((nearest.len(), &nearest[0]["row"], &nearest[0]["cosine"]), (50, &json!(96), &json!(0.996)));
        assert_eq!(nearest[0]["against_text"], "text 1");
    }
}
