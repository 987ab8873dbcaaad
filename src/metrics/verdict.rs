//! Right or wrong, for people who read rows: by a score whose values say so.

use serde::Serialize;
use serde_json::Value;

use super::samples::Sampled;
use super::scores::{Score, Scores};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worth all that a row can be worth.
    Right,
    /// Worth something: one of two instructions followed, one of several answers right.
    Partly,
    /// Worth nothing.
    Wrong,
}

impl Verdict {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Partly => "partly right",
            Self::Wrong => "wrong",
        }
    }
}

/// Returns the score by which a task's rows are right or wrong: the first that rows have a value of.
pub fn deciding<'a>(scores: &'a Scores, task: &str, rows: &[Sampled]) -> Option<&'a Score> {
    let has = |score: &&Score| rows.iter().any(|row| row.values.contains_key(&score.metric));
    scores.tasks.iter().filter(|score| score.name == task).find(has)
}

/// Says whether a row is right. Where less is better (bits per byte), nothing is.
pub fn verdict(row: &Sampled, score: &Score) -> Option<Verdict> {
    let value = row.values.get(&score.metric).and_then(Value::as_f64).filter(|_| score.higher_is_better)?;
    Some(match value {
        value if value >= 1.0 => Verdict::Right,
        value if value > 0.0 => Verdict::Partly,
        _ => Verdict::Wrong,
    })
}

/// Returns the places of the right choices; none where the reference is no place.
pub fn right_choices(row: &Sampled) -> Vec<usize> {
    let place = |value: &Value| value.as_u64().and_then(|place| usize::try_from(place).ok());
    match &row.gold {
        Value::Array(places) => places.iter().filter_map(place).collect(),
        one => place(one).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(values: &Value, gold: Value) -> Sampled {
        Sampled { values: values.as_object().unwrap().clone(), gold, ..Sampled::default() }
    }

    #[test]
    fn values_say_what_is_right() {
        let score = |metric: &str, higher_is_better| Score {
            name: "t".into(),
            metric: metric.into(),
            higher_is_better,
            ..Score::default()
        };
        let of = |value: &Value| verdict(&row(&json!({"acc": value}), json!(0)), &score("acc", true));
        assert_eq!(of(&json!(1.0)), Some(Verdict::Right));
        assert_eq!(of(&json!(0.5)), Some(Verdict::Partly));
        assert_eq!((of(&json!(0.0)), of(&json!(null))), (Some(Verdict::Wrong), None));
        assert_eq!(verdict(&row(&json!({"bits": 2}), json!(0)), &score("bits", false)), None);
        // BLEU is a score of the whole task: what decides is the next one.
        let scores = Scores::new(vec![score("bleu", true), score("acc", true)]);
        let rows = [row(&json!({"acc": 1.0}), json!(0))];
        assert_eq!(deciding(&scores, "t", &rows).map(|score| score.metric.as_str()), Some("acc"));
        assert!(deciding(&scores, "u", &rows).is_none());
        assert_eq!(right_choices(&row(&json!({}), json!([0, 2]))), [0, 2]);
        assert_eq!(right_choices(&row(&json!({}), json!("B"))), [0; 0]);
    }
}
