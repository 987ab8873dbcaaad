//! What a task's score is made of: groups, clusters, runs; and that it is the same whenever it is asked for.

use super::*;

fn rights(values: &[(&str, f64)]) -> Vec<Sampled> {
    let row = |(group, right): &(&str, f64)| Sampled {
        group: Some((*group).to_owned()),
        cluster: Some(format!("passage {group}")),
        ..chosen(json!(0), &[(" a", *right), (" b", 0.5)])
    };
    values.iter().map(row).collect()
}

fn grouped(more: &Value) -> Judge {
    Judge::new(&task(CHOICES, &json!(["acc"]), more), "mmlu", Profile::LmEval, 0).unwrap()
}

#[test]
fn groups_make_a_macro_mean() {
    let mut rows = rights(&[("law", 1.0), ("law", 0.0), ("law", 1.0), ("law", 1.0), ("art", 0.0), ("art", 1.0)]);
    let scores = scored(&grouped(&json!({"group": "subject", "average": "groups"})), &mut rows);
    let known: Vec<_> = scores.iter().map(|score| (score.group.as_deref(), score.value, score.n)).collect();
    assert_eq!(known, [(None, 0.625, 6), (Some("art"), 0.5, 2), (Some("law"), 0.75, 4)]);
    // sqrt(Σ se²) / k.
    let (art, law) = (scores[1].stderr.unwrap(), scores[2].stderr.unwrap());
    close(scores[0].stderr.unwrap(), (art * art + law * law).sqrt() / 2.0);
    close(law, (0.75_f64 * 0.25 / 3.0).sqrt());
    let by_rows = scored(&grouped(&json!({"group": "subject"})), &mut rows);
    assert_eq!((by_rows[0].value, by_rows.len()), (4.0 / 6.0, 3));
    let written = super::super::super::Scores::new(scores);
    assert_eq!((written.tasks.len(), written.groups.len()), (1, 2));
    assert_eq!(written.metrics().into_keys().collect::<Vec<_>>(), ["mmlu.acc", "mmlu.acc_stderr"]);
}

#[test]
fn rows_of_a_passage_are_one_cluster() {
    let mut rows = rights(&[("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 0.0)]);
    let alone = scored(&grouped(&json!({})), &mut rows).remove(0);
    let together = scored(&grouped(&json!({"cluster": "passage"})), &mut rows).remove(0);
    assert_eq!((alone.value, together.value), (0.5, 0.5));
    assert_eq!((alone.clusters, together.clusters), (None, Some(2)));
    close(alone.stderr.unwrap(), (1.0_f64 / 12.0).sqrt());
    // Two clusters whose residuals are 1 and -1: sqrt(2 · 2/1) / 4.
    close(together.stderr.unwrap(), 0.5);
    assert_eq!(alone.interval.map(|[low, high]| low > 0.0 && high < 1.0), Some(true), "Wilson's stays inside");
}

#[test]
fn runs_are_told_apart_and_together() {
    let judge = judge(GENERATE, &json!(["em"]), Profile::Native);
    let run = |answers: [&str; 3]| {
        let mut rows: Vec<Sampled> = answers.iter().map(|answer| answered(json!("a"), &[answer])).collect();
        rows.iter_mut().enumerate().for_each(|(place, row)| row.row = place);
        judge.rows(&mut rows).unwrap();
        rows
    };
    let (one, two) = (run(["a", "b", "a"]), run(["a", "b", "b"]));
    let score = judge.scores_of_runs(&[&one, &two]).remove(0);
    assert_eq!((score.value, score.n, score.runs.len()), (0.5, 3, 2));
    close(score.runs[0], 2.0 / 3.0);
    close(score.std.unwrap(), (2.0_f64 * (1.0 / 6.0_f64).powi(2)).sqrt());
    // Twice the same run says no more than one about other questions.
    let twice = judge.scores_of_runs(&[&one, &one]).remove(0);
    close(twice.stderr.unwrap(), judge.scores(&one)[0].stderr.unwrap());
    assert!(judge.scores(&one)[0].runs.is_empty());
}

#[test]
fn judging_again_gives_the_same_bytes() {
    let metrics = json!(["maths", {"metric": "em", "name": "same"}, "chrf", "letter"]);
    let judge = judge(GENERATE, &metrics, Profile::Native);
    let mut rows: Vec<Sampled> =
        ["B", "$\\boxed{3}$", "Answer: A", ""].map(|said| answered(json!("B"), &[said])).into();
    let scores = serde_json::to_string(&scored(&judge, &mut rows)).unwrap();
    let bytes = serde_json::to_string(&rows).unwrap();
    let mut again: Vec<Sampled> = serde_json::from_str(&bytes).unwrap();
    again[0].values.insert("gone".into(), json!(1));
    assert_eq!(serde_json::to_string(&scored(&judge, &mut again)).unwrap(), scores);
    assert_eq!(serde_json::to_string(&again).unwrap(), bytes);
    rows.reverse();
    let backwards = judge.scores(&rows);
    assert_eq!(backwards[0], serde_json::from_str::<Vec<Score>>(&scores).unwrap()[0]);
}
