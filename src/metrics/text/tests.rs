//! Scores against sacrebleu's; `text.json` is made by `tests/fixtures/metrics/text.py`.

use proptest::prelude::*;
use serde_json::Value;

use super::bleu::{Bleu, Counts, Smoothing, Tokenizer};
use super::chrf::{self, Chrf};
use super::{Articles, exact, f1, helm, quasi};

const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/text.json"));

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn close(ours: f64, golden: &Value, what: &str) {
    let golden = golden.as_f64().unwrap();
    assert!((ours - golden).abs() < 1e-9, "{what}: {ours}, sacrebleu {golden}");
}

#[test]
fn bleu_is_sacrebleus() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let answers = texts(&golden["answers"]);
    for row in golden["bleu"].as_array().unwrap() {
        let tokenizer = match row["tokenize"].as_str().unwrap() {
            "13a" => Tokenizer::V13a,
            "intl" => Tokenizer::International,
            _ => Tokenizer::None,
        };
        let smoothing = match row["smooth"].as_str().unwrap() {
            "exp" => Smoothing::Exponential,
            "floor" => Smoothing::Floor(0.1),
            "add-k" => Smoothing::Add(1.0),
            _ => Smoothing::None,
        };
        let lowercase = row["lowercase"].as_bool().unwrap();
        let bleu = Bleu { tokenizer, smoothing, lowercase, ..Bleu::default() };
        let mut sum = Counts::default();
        for (index, answer) in answers.iter().enumerate() {
            let references = texts(&golden["references"][index]);
            let counts = bleu.count(answer, &references);
            close(bleu.score(&counts), &row["plain"][index], &format!("{bleu:?} of {answer}"));
            close(
                bleu.sentence(answer, &references),
                &row["sentences"][index],
                &format!("{bleu:?} of sentence {answer}"),
            );
            sum += counts;
        }
        close(bleu.score(&sum), &row["corpus"], &format!("{bleu:?} of the corpus"));
    }
}

#[test]
fn chrf_is_sacrebleus() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let answers = texts(&golden["answers"]);
    for row in golden["chrf"].as_array().unwrap() {
        let number = |name: &str| row[name].as_u64().unwrap() as usize;
        let lowercase = row["lowercase"].as_bool().unwrap();
        let chrf = Chrf { word_order: number("words"), beta: number("beta"), lowercase, ..Chrf::default() };
        let mut sum = chrf::Counts::default();
        for (index, answer) in answers.iter().enumerate() {
            let counts = chrf.count(answer, &texts(&golden["references"][index]));
            close(chrf.score(&counts), &row["sentences"][index], &format!("{chrf:?} of {answer}"));
            sum += &counts;
        }
        close(chrf.score(&sum), &row["corpus"], &format!("{chrf:?} of the corpus"));
    }
}

proptest! {
    #[test]
    fn any_text_has_scores(gold in any::<String>(), answer in any::<String>()) {
        let whole = f1::token_f1(&gold, &gold, Articles::French);
        prop_assert!((whole - 1.0).abs() < 1e-12);
        for score in [
            Bleu::default().sentence(&answer, &[&gold]),
            Chrf { word_order: 2, ..Chrf::default() }.score(&Chrf { word_order: 2, ..Chrf::default() }.count(&answer, &[&gold])),
            100.0 * f1::set_f1(&gold, &answer),
        ] {
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{score}");
        }
        prop_assert_eq!(quasi(&quasi(&gold, Articles::None), Articles::None), quasi(&gold, Articles::None));
        helm(&gold);
        exact::quasi_match(&gold, &answer, exact::Part::Suffix, helm);
    }
}

/// lighteval's own cases (MIT), within its tolerances. Its cases of chrF hand sacrebleu the references the wrong way
/// round, so that a corpus is its first answer against all references.
#[test]
fn lighteval_cases_hold() {
    const CASES: [(&str, &str); 4] = [
        ("bleu", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/lighteval/bleu.json"))),
        ("chrf", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/lighteval/chrf.json"))),
        (
            "chrf++",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/lighteval/chrf_plus.json")),
        ),
        ("f1", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/lighteval/f1_score.json"))),
    ];
    for (metric, cases) in CASES {
        let cases: Value = serde_json::from_str(cases).unwrap();
        for case in cases["test_cases"].as_array().unwrap() {
            let (score, expected) = if metric == "f1" {
                let golds = case["doc"]["choices"].as_array().unwrap();
                let golds = match &case["doc"]["gold_index"] {
                    Value::Array(chosen) => chosen.iter().map(|index| index.as_u64().unwrap() as usize).collect(),
                    index => vec![index.as_u64().unwrap() as usize],
                }
                .into_iter()
                .map(|index| golds[index].as_str().unwrap());
                let answers = texts(&case["model_response"]["text"]);
                let scores = golds.flat_map(|gold| answers.iter().map(move |answer| f1::set_f1(gold, answer)));
                (scores.fold(0.0, f64::max), &case["expected_output"]["f1"])
            } else {
                let docs = case["docs"].as_array().unwrap();
                let gold = |doc: &Value| doc["choices"][doc["gold_index"].as_u64().unwrap() as usize].clone();
                let golds: Vec<Value> = docs.iter().map(gold).collect();
                let golds: Vec<&str> = golds.iter().map(|gold| gold.as_str().unwrap()).collect();
                let answers = case["model_responses"].as_array().unwrap().iter();
                let answers: Vec<&str> = answers.map(|answer| answer["text"][0].as_str().unwrap()).collect();
                let chrf = Chrf { word_order: if metric == "chrf" { 0 } else { 2 }, ..Chrf::default() };
                let bleu = Bleu::default();
                let score = if metric == "bleu" {
                    let mut sum = Counts::default();
                    answers.iter().zip(&golds).for_each(|(answer, gold)| sum += bleu.count(answer, &[gold]));
                    bleu.score(&sum)
                } else {
                    chrf.score(&chrf.count(answers[0], &golds))
                };
                (score, &case["expected_output"])
            };
            let (expected, tolerance) = (expected.as_f64().unwrap(), case["tolerance"].as_f64().unwrap());
            assert!((score - expected).abs() <= tolerance, "{metric}, {}: {score}, lighteval {expected}", case["name"]);
        }
    }
}
