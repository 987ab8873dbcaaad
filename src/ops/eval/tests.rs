//! The tasks, over a model whose probabilities are known.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::data::Message;
use crate::metrics::statistics::Estimate;
use crate::ops::{Inputs, Progress};

const START: u32 = 1000;

/// A token is a byte; of a tilde nothing is made.
struct Bytes;

impl Encoder for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, OpError> {
        Ok(text.bytes().filter(|byte| *byte != b'~').map(u32::from).collect())
    }

    fn start(&self) -> u32 {
        START
    }
}

/// Gives every token the log-probability that `answer(previous, token)` says, and keeps what it was asked.
struct Known<F> {
    answer: F,
    asked: RefCell<Vec<Packed>>,
}

impl<F: Fn(u32, u32) -> f32> Scorer for Known<F> {
    fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, OpError> {
        self.asked.borrow_mut().push(packed.clone());
        let mut answers = Vec::new();
        let mut rest = &packed.ids[..];
        for length in &packed.lengths {
            let (document, others) = rest.split_at(*length);
            rest = others;
            answers.push(0.0);
            answers.extend(document.windows(2).map(|pair| (self.answer)(pair[0], pair[1])));
        }
        Ok(answers)
    }
}

struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn position(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

type Answer = fn(u32, u32) -> f32;

fn with<T>(answer: Answer, max_length: usize, run: impl FnOnce(&Bench<'_>) -> T) -> (T, Vec<Packed>) {
    let scorer = Known { answer, asked: RefCell::default() };
    let (inputs, cancelled) = (Inputs::default(), AtomicBool::new(false));
    let out = std::path::Path::new(".");
    let cx = OpCx {
        inputs: &inputs,
        out,
        scratch: out,
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads: 1,
        device: crate::ops::DeviceChoice::Cpu,
        progress: &Silent,
        cancelled: &cancelled,
    };
    let result = run(&Bench { scorer: &scorer, encoder: &Bytes, max_length, cx: &cx });
    (result, scorer.asked.into_inner())
}

fn texts(texts: &[&str]) -> Vec<Row> {
    texts.iter().map(|text| Row::Text((*text).to_owned())).collect()
}

fn pair(good: &str, bad: &str) -> Row {
    Row::Pair { good: good.to_owned(), bad: bad.to_owned() }
}

fn three_bits(_: u32, _: u32) -> f32 {
    -3.0 * std::f32::consts::LN_2
}

/// Depends on both tokens and on nothing else.
fn uneven(previous: u32, token: u32) -> f32 {
    -(1.0 + ((previous * 31 + token * 17) % 23) as f32 / 7.0)
}

#[test]
fn a_model_that_gives_every_byte_three_bits_has_three_bits_per_byte() {
    let rows = texts(&["abc", "", "hello world", "été"]);
    let (result, _) = with(three_bits, 8, |bench| bits_per_byte::run("x", &rows, bench));
    let (score, tokens) = result.unwrap();
    assert!((score.value - 3.0).abs() < 1e-6, "{score:?}");
    assert!(score.stderr.unwrap() < 1e-6, "no text differs: {score:?}");
    assert_eq!(score.n, 3, "the empty text does not count");
    assert_eq!(tokens, (1 + 3) + (1 + 7) + (1 + 4) + (1 + 5), "eleven bytes make two windows of at most eight tokens");
}

#[test]
fn every_window_begins_behind_the_start_token_and_every_token_is_scored_once() {
    let text: String = ('a'..='z').collect();
    let rows = texts(&[&text]);
    let (result, asked) = with(uneven, 6, |bench| bits_per_byte::run("x", &rows, bench));
    let mut scored: Vec<u32> = Vec::new();
    for packed in &asked {
        assert!(packed.ids.len() <= 6);
        let mut rest = &packed.ids[..];
        for length in &packed.lengths {
            let (document, others) = rest.split_at(*length);
            assert_eq!(document[0], START);
            scored.extend(&document[1..]);
            rest = others;
        }
    }
    scored.sort_unstable();
    assert_eq!(scored, (u32::from(b'a')..=u32::from(b'z')).collect::<Vec<_>>());
    let expected: f32 = text
        .as_bytes()
        .chunks(5)
        .map(|piece| {
            let firsts = std::iter::once(START).chain(piece.iter().map(|byte| u32::from(*byte)));
            firsts.zip(piece).map(|(previous, byte)| uneven(previous, u32::from(*byte))).sum::<f32>()
        })
        .sum();
    let value = result.unwrap().0.value;
    assert!((value + f64::from(expected) / std::f64::consts::LN_2 / 26.0).abs() < 1e-6, "{value}");
}

#[test]
fn the_order_of_the_rows_changes_no_bit() {
    let contents: Vec<String> = (0_usize..60).map(|i| "abcdefghij".repeat(i * 13 % 7) + &"xyz"[..=i % 3]).collect();
    let mut rows: Vec<Row> = contents.into_iter().map(Row::Text).collect();
    let (forward, _) = with(uneven, 24, |bench| bits_per_byte::run("x", &rows, bench));
    rows.reverse();
    let (backward, _) = with(uneven, 24, |bench| bits_per_byte::run("x", &rows, bench));
    let (forward, backward) = (forward.unwrap().0, backward.unwrap().0);
    assert_eq!(forward.value.to_bits(), backward.value.to_bits());
    assert_eq!(forward.stderr.unwrap().to_bits(), backward.stderr.unwrap().to_bits());
}

#[test]
fn a_chat_is_scored_as_the_plain_text_of_its_messages() {
    let message = |role: &str, content: &str| Message::new(role, content);
    let chat = vec![Row::Chat(vec![message("user", "oui ?"), message("assistant", "non")].into())];
    let (as_chat, _) = with(uneven, 64, |bench| bits_per_byte::run("x", &chat, bench));
    let (as_text, _) = with(uneven, 64, |bench| bits_per_byte::run("x", &texts(&["oui ?\nnon"]), bench));
    assert_eq!(as_chat.unwrap().0.value.to_bits(), as_text.unwrap().0.value.to_bits());
}

#[test]
fn the_likelier_sentence_wins_and_a_tie_counts_half() {
    // An `a` is likelier than any other letter.
    let likes_a: Answer = |_, token| if token == u32::from(b'a') { -0.5 } else { -2.0 };
    let rows = [pair("aa", "ab"), pair("ab", "aa"), pair("ab", "ba"), pair("a", "b")];
    let (result, _) = with(likes_a, 16, |bench| minimal_pairs::run("x", &rows, bench));
    let score = result.unwrap().0;
    assert!((score.value - 2.5 / 4.0).abs() < 1e-12, "{score:?}");
    assert_eq!(score.n, 4);
    assert!(score.higher_is_better);
}

#[test]
fn undefined_probabilities_are_an_error_that_names_the_row() {
    let broken: Answer = |_, token| if token == u32::from(b'z') { f32::NAN } else { -1.0 };
    let (result, _) = with(broken, 16, |bench| bits_per_byte::run("x", &texts(&["abc", "", "xyz"]), bench));
    assert!(result.unwrap_err().to_string().contains("row 3"));
    let (result, _) = with(broken, 16, |bench| minimal_pairs::run("x", &[pair("a", "b"), pair("a", "z")], bench));
    assert!(result.unwrap_err().to_string().contains("row 2"));
    let impossible: Answer = |_, _| f32::NEG_INFINITY;
    let (result, _) = with(impossible, 16, |bench| bits_per_byte::run("x", &texts(&["a"]), bench));
    assert!(result.unwrap_err().to_string().contains("row 1"));
}

#[test]
fn a_text_without_tokens_is_an_error_that_names_the_row() {
    let (result, _) = with(uneven, 16, |bench| bits_per_byte::run("x", &texts(&["abc", "", "~~", "d"]), bench));
    assert!(result.unwrap_err().to_string().contains("row 3"));
    let (result, _) = with(uneven, 16, |bench| minimal_pairs::run("x", &[pair("a", "b"), pair("a", "~")], bench));
    assert!(result.unwrap_err().to_string().contains("row 2"));
}

#[test]
fn rows_of_the_wrong_kind_are_an_error_that_names_the_row() {
    let rows = [Row::Text("a".into()), pair("a", "b")];
    let (result, _) = with(uneven, 16, |bench| bits_per_byte::run("x", &rows, bench));
    assert!(result.unwrap_err().to_string().contains("row 2 is a pair"));
    let (result, _) = with(uneven, 16, |bench| minimal_pairs::run("x", &rows, bench));
    assert!(result.unwrap_err().to_string().contains("row 1 is a text"));
    let (result, _) = with(uneven, 16, |bench| bits_per_byte::run("x", &[], bench));
    assert!(result.is_err());
}

#[test]
fn what_is_written_is_read_back_and_named_in_the_metrics() {
    let estimate = Estimate { mean: 1.25, error: 0.03, count: 7 };
    let alone = Estimate { mean: 0.5, error: f64::NAN, count: 1 };
    let scores = Scores::new(vec![Score::bits_per_byte("fr", estimate, 7), Score::accuracy("clams", alone, 1)]);
    let dir = tempfile::tempdir().unwrap();
    scores.write(dir.path()).unwrap();
    let back = Scores::read(dir.path()).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(&scores).unwrap());
    let names: Vec<String> = scores.metrics().into_keys().collect();
    assert_eq!(names, ["clams.acc", "fr.bits_per_byte", "fr.bits_per_byte_stderr"]);
    fs_err::write(dir.path().join(scores::SCORES_FILE), r#"{"version":2,"tasks":[]}"#).unwrap();
    assert!(Scores::read(dir.path()).unwrap_err().to_string().contains("version 2"));
}
