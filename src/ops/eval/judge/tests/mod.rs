//! The wiring of metrics to rows: each with a verdict that is known from elsewhere.

#![expect(clippy::float_cmp, reason = "scores of 0 and 1, and the same computation twice")]

mod faults;
mod golden;
mod scores;

use serde_json::{Value, json};

use super::super::sampled::{Likely, Sampled, Written};
use super::{Judge, Score};
use crate::spec::params::{Profile, TaskDefinition};

const CHOICES: &str = r#"{"choices": {"list": "choices", "gold": "gold", "unconditioned": "Answer:"}}"#;
const GENERATE: &str = r#"{"generate": {"gold": "answer"}}"#;
const TEXT: &str = r#"{"text": {"text": "{{text}}"}}"#;
const PAIR: &str = r#"{"pair": {"good": "{{good}}", "bad": "{{bad}}"}}"#;

/// A task with this request and these metrics; `more` is laid over it.
fn task(request: &str, metrics: &Value, more: &Value) -> TaskDefinition {
    let request: Value = serde_json::from_str(request).unwrap();
    let mut task = json!({"task": "known", "request": request, "metrics": metrics});
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    serde_json::from_value(task).unwrap()
}

fn judge(request: &str, metrics: &Value, profile: Profile) -> Judge {
    Judge::new(&task(request, metrics, &json!({})), "t", profile, 0).unwrap()
}

fn chosen(gold: Value, choices: &[(&str, f64)]) -> Sampled {
    let likely = |(text, sum): &(&str, f64)| Likely {
        text: (*text).to_owned(),
        sum: *sum,
        tokens: text.split_whitespace().count(),
        greedy: false,
        alone: Some(-1.0),
    };
    Sampled { gold, choices: choices.iter().map(likely).collect(), ..Sampled::default() }
}

fn answered(gold: Value, answers: &[&str]) -> Sampled {
    let written = |text: &&str| Written { text: (*text).to_owned(), ..Written::default() };
    Sampled { gold, answers: answers.iter().map(written).collect(), ..Sampled::default() }
}

/// The only value of a row.
fn value(judge: &Judge, mut sampled: Sampled) -> f64 {
    judge.row(&mut sampled).unwrap();
    assert_eq!(sampled.values.len(), 1, "{sampled:?}");
    sampled.values.values().next().unwrap().as_f64().unwrap()
}

/// The scores of rows, numbered and judged.
fn scored(judge: &Judge, rows: &mut [Sampled]) -> Vec<Score> {
    rows.iter_mut().enumerate().for_each(|(place, row)| row.row = place);
    judge.rows(rows).unwrap();
    judge.scores(rows)
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{ours}, and not {theirs}");
}
