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
