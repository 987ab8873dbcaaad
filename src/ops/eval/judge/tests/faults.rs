//! What a task or a row has wrong is said; what a model does wrong is worth nothing.

use super::*;

fn refused(request: &str, metrics: &Value) -> String {
    let error = Judge::new(&task(request, metrics, &json!({})), "t", Profile::Native, 0).err().unwrap();
    format!("{error}; {}", error.way_out().unwrap_or(""))
}

#[test]
fn columns_are_those_that_metrics_read() {
    let definition = task(GENERATE, &json!(["letter", "ifeval", "em"]), &json!({}));
    assert_eq!(Judge::columns(&definition.metrics), ["instruction_id_list", "kwargs", "choices"]);
}

#[test]
fn metrics_fit_their_request() {
    let told = [
        refused(CHOICES, &json!(["em"])),
        refused(PAIR, &json!(["share"])),
        refused(TEXT, &json!(["acc"])),
        refused(GENERATE, &json!(["acc_norm"])),
        refused(r#"{"generate": {}}"#, &json!(["maths"])),
        refused(r#"{"choices": {"texts": ["a"], "gold": "0"}}"#, &json!(["acc_mutual_info"])),
        refused(CHOICES, &json!([{"metric": "acc", "extract": {"pattern": "x"}}])),
        refused(GENERATE, &json!([{"metric": "em", "rules": "luth"}])),
        refused(GENERATE, &json!([{"metric": "em", "extract": {"pattern": "("}}])).lines().next().unwrap().to_owned(),
        refused(GENERATE, &json!([{"metric": "maths", "language": "de"}])),
        refused(GENERATE, &json!([{"metric": "em", "pass_at": 1, "maj_at": 1}])),
        refused(GENERATE, &json!([{"metric": "ifeval", "rules": "minerva"}])),
        refused(GENERATE, &json!(["em", "em"])),
        refused(GENERATE, &json!([])),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

fn unjudged(judge: &Judge, mut row: Sampled) -> String {
    row.row = 6;
    let error = judge.row(&mut row).unwrap_err();
    format!("{error}; {}", error.way_out().unwrap_or(""))
}

#[test]
fn rows_have_what_a_metric_needs() {
    let acc = judge(CHOICES, &json!(["acc"]), Profile::Native);
    let em = judge(GENERATE, &json!(["em"]), Profile::Native);
    let many = judge(GENERATE, &json!([{"metric": "em", "pass_at": 3}]), Profile::Native);
    let letter = judge(GENERATE, &json!(["letter"]), Profile::Native);
    let text = judge(TEXT, &json!(["bits_per_byte"]), Profile::Native);
    let brier = judge(CHOICES, &json!(["brier"]), Profile::Native);
    let follows = judge(GENERATE, &json!(["ifeval"]), Profile::LmEval);
    let instructed = |ids: Value, settings: Value| {
        let mut row = answered(Value::Null, &["a"]);
        row.columns.insert("instruction_id_list".into(), ids);
        row.columns.insert("kwargs".into(), settings);
        row
    };
    let told = [
        unjudged(&acc, chosen(json!(2), &[("a", 0.0), ("b", 0.0)])),
        unjudged(&acc, chosen(json!("a"), &[("a", 0.0)])),
        unjudged(&brier, chosen(json!([0, 1]), &[("a", 0.0), ("b", 0.0)])),
        unjudged(&em, answered(json!({"answer": 1}), &["a"])),
        unjudged(&em, answered(json!("a"), &[])),
        unjudged(&many, answered(json!("a"), &["a", "b"])),
        unjudged(&letter, answered(json!("E"), &["a"])),
        unjudged(&text, chosen(Value::Null, &[("a", f64::NAN)])),
        unjudged(&follows, answered(Value::Null, &["a"])),
        unjudged(&follows, instructed(json!(["punctuation:no_comma"]), json!([]))),
        unjudged(&follows, instructed(json!(["keywords:existence"]), json!([{"keywords": null}]))),
    ];
    insta::assert_snapshot!(told.join("\n"));
    let mut rows = vec![answered(json!("a"), &["a"]), answered(json!("a"), &[]), answered(Value::Null, &["a"])];
    rows.iter_mut().enumerate().for_each(|(place, row)| row.row = place);
    assert!(em.rows(&mut rows).unwrap_err().to_string().starts_with("row 2 "));
}

#[test]
fn what_is_no_number_is_never_right() {
    let nan = f64::NAN;
    for metric in ["acc", "acc_norm", "acc_token", "acc_bytes", "share"] {
        let judge = judge(CHOICES, &json!([metric]), Profile::Native);
        assert_eq!(value(&judge, chosen(json!(0), &[(" a", nan), (" b", -1.0)])), 0.0, "{metric}");
        assert_eq!(value(&judge, chosen(json!(0), &[(" a", nan), (" b", nan)])), 0.0, "{metric}");
        assert_eq!(value(&judge, chosen(json!(0), &[(" a", f64::INFINITY), (" b", nan)])), 0.0, "{metric}");
    }
    let brier = judge(CHOICES, &json!(["brier"]), Profile::Native);
    assert_eq!(value(&brier, chosen(json!(0), &[("a", nan), ("b", nan)])), 2.0);
    let pair = judge(PAIR, &json!(["acc"]), Profile::Native);
    assert_eq!(value(&pair, chosen(Value::Null, &[("a", nan), ("b", nan)])), 0.0);
}

/// Nothing that a model writes takes long or is right by being strange.
#[test]
fn strange_answers_are_worth_nothing() {
    let metrics = json!(["em", "pem", "qem", "pqem", "exact_match", "f1", "maths", "letter",
        {"metric": "maths", "name": "hendrycks", "rules": "hendrycks"},
        {"metric": "maths", "name": "minerva", "rules": "minerva"},
        {"metric": "exact_match", "name": "found", "extract": {"pattern": "([a-z]+) is (.*)", "take": "last"}}]);
    let endless = [
        String::new(),
        "é ".repeat(5 << 20),
        "{".repeat(500_000),
        format!("\\boxed{}", "{".repeat(200_000)),
        "\\boxed".repeat(100_000),
        "\\frac{1}{".repeat(100_000),
        "$(".repeat(100_000),
        "\u{fffd}\0\u{202e}".repeat(1000),
    ];
    for profile in [Profile::Native, Profile::Luth, Profile::LmEval] {
        let judge = judge(GENERATE, &metrics, profile);
        for answer in &endless {
            let mut row = answered(json!("C"), &[answer]);
            judge.row(&mut row).unwrap();
            for (name, value) in &row.values {
                assert_eq!(value.as_f64(), Some(0.0), "{name} of {}…", answer.chars().take(10).collect::<String>());
            }
            assert!(row.extracted.values().all(|kept| kept.to_string().len() < 20_000));
        }
    }
    let corpus = judge(GENERATE, &json!(["bleu", "chrf"]), Profile::Native);
    let mut rows = vec![answered(json!("un mot"), &[&endless[1]]), answered(json!("un mot"), &[""])];
    assert!(scored(&corpus, &mut rows).iter().all(|score| score.value == 0.0));
    let follows = judge(GENERATE, &json!(["ifeval"]), Profile::LmEval);
    for answer in &endless[..2] {
        let mut row = answered(Value::Null, &[answer]);
        row.columns.insert("instruction_id_list".into(), json!(["punctuation:no_comma"]));
        row.columns.insert("kwargs".into(), json!([null]));
        follows.row(&mut row).unwrap();
        assert_eq!(row.values["prompt_loose"], json!(0.0));
    }
}
