//! lighteval's own test cases for the metrics of this module.

use serde_json::Value;

use super::{
    at_k::{g_pass_at_k, majority, mean_g_pass_at_k, pass_at_k},
    letters,
    maths::{Language, Profile, judge},
};

macro_rules! cases {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/metrics/lighteval/",
            $name,
            ".json"
        )))
        .unwrap()["test_cases"]
            .as_array()
            .unwrap()
            .clone()
    };
}

/// The reference and the model's answers of a case.
fn sides(case: &Value) -> (String, Vec<String>) {
    let index = &case["doc"]["gold_index"];
    let index = index.as_u64().or_else(|| index[0].as_u64()).unwrap() as usize;
    let texts = case["model_response"]["text"].as_array().unwrap().iter();
    (
        case["doc"]["choices"][index].as_str().unwrap().to_owned(),
        texts.map(|t| t.as_str().unwrap().to_owned()).collect(),
    )
}

/// `n`, how many are right, `k`.
fn counts(case: &Value, right: impl Fn(&str, &str) -> bool) -> (usize, usize, usize) {
    let (gold, texts) = sides(case);
    let size = |key: &str| case["metric_params"][key].as_u64().unwrap() as usize;
    let n = size("n");
    (n, texts.iter().take(n).filter(|t| right(&gold, t)).count(), size("k"))
}

fn close(got: f64, case: &Value, key: impl Fn(&str) -> bool) {
    let expected = case["expected_output"].as_object().unwrap();
    let value = expected.iter().find(|(name, _)| key(name)).unwrap().1.as_f64().unwrap();
    assert!((got - value).abs() <= 0.01, "{got}: {case}");
}

fn letter(case: &Value) -> impl Fn(&str, &str) -> bool {
    let choices = case["doc"]["choices"].as_array().unwrap().len();
    move |gold, text| {
        let of = |t: &str| letters::extract(t, choices, Language::English);
        of(gold).is_some() && of(gold) == of(text)
    }
}

fn value(gold: &str, text: &str) -> bool {
    judge(gold, text, Language::English, Profile::Lighteval).correct
}

fn g_pass(cases: &[Value], right: impl Fn(&str, &str) -> bool) {
    for case in cases {
        let (n, c, k) = counts(case, &right);
        for threshold in ["0.0", "0.25", "0.5", "0.75", "1.0"] {
            let share = threshold.parse().unwrap();
            close(g_pass_at_k(n, c, k, share), case, |name| name.ends_with(&format!("_{threshold}")));
        }
        // The thresholds' names end in `_0.25` and the like, the mean's does not.
        close(mean_g_pass_at_k(n, c, k), case, |name| !name.contains('.'));
    }
}

#[test]
fn letters_of_gpqa() {
    for case in cases!("gpqa_instruct_metric") {
        let (gold, texts) = sides(&case);
        close(f64::from(u8::from(letter(&case)(&gold, &texts[0]))), &case, |_| true);
    }
    for case in cases!("gpqa_instruct_pass_at_k").into_iter().chain(cases!("pass_at_k_letters")) {
        let (n, c, k) = counts(&case, letter(&case));
        close(pass_at_k(n, c, k), &case, |_| true);
    }
}

#[test]
fn pass_at_k_of_strings_and_maths() {
    for case in cases!("pass_at_k") {
        let (n, c, k) = counts(&case, |a, b| a == b);
        close(pass_at_k(n, c, k), &case, |_| true);
    }
    for case in cases!("pass_at_k_math") {
        let (n, c, k) = counts(&case, value);
        close(pass_at_k(n, c, k), &case, |_| true);
    }
}

#[test]
fn g_pass_at_k_of_strings_and_maths() {
    g_pass(&cases!("g_pass_at_k"), |a, b| a == b);
    g_pass(&cases!("g_pass_at_k_math"), value);
    g_pass(&cases!("g_pass_at_k_latex"), value);
}

#[test]
fn majorities() {
    for case in cases!("maj_at_k") {
        let (gold, texts) = sides(&case);
        let most = majority(&texts, case["metric_params"]["k"].as_u64().unwrap() as usize);
        close(f64::from(u8::from(most == Some(&gold))), &case, |_| true);
    }
}
