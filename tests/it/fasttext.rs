//! Models of fastText: every kind of file beside fastText's own C++ (`fixtures/fasttext/make.py`), and what is refused.
//!
//! The lines have the no-break spaces of printed French, emoji, words of a thousand letters, nothing at all, and what only fastText
//! sees something in: its own mark for the end of a line, labels among words, a zero.

use std::path::{Path, PathBuf};

use luthflow::text::fasttext::Model;
use luthflow::text::language::Detector;
use serde_json::Value;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fasttext").join(name)
}

fn rows() -> Vec<Value> {
    let text = fs_err::read_to_string(fixture("golden.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The likeliest labels of each line, in the same order, with the same probabilities.
fn says_what_cpp_says(name: &str, model: &Model) {
    let rows = rows();
    for row in rows.iter().filter(|row| !row[name].is_null()) {
        let text = row["text"].as_str().unwrap();
        let ours = model.predict(
            text,
            if name == "five" {
                5
            } else if name == "all" {
                10
            } else {
                2
            },
        );
        let theirs: Vec<(String, f32)> = serde_json::from_value(row[name].clone()).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}: {text:?}");
        for ((label, score), (wanted, probability)) in ours.into_iter().zip(theirs) {
            assert_eq!(label, format!("__label__{wanted}"), "{name}: {text:?}");
            assert!((score - probability).abs() < 1e-6, "{name}: {text:?}: {label} {score}, {probability}");
        }
    }
    assert_eq!(rows.len(), 120);
    assert!(rows.iter().filter(|row| row["text"].as_str().unwrap().contains(['\u{a0}', '\u{202f}'])).count() > 55);
}

#[test]
fn all_kinds_of_models_say_what_cpp_says() {
    for name in ["words2.bin", "words3.bin", "tree.bin", "ova.bin", "ns.bin", "pruned.ftz", "output.ftz"] {
        says_what_cpp_says(name, &Model::open(&fixture(name)).unwrap());
    }
}

/// Which of equally likely labels come first, and which are too unlikely for a tree to reach.
#[test]
fn ties_and_leaves_are_those_of_cpp() {
    says_what_cpp_says("five", &Model::open(&fixture("ns.bin")).unwrap());
    says_what_cpp_says("all", &Model::open(&fixture("tree.bin")).unwrap());
    let found = |name: &str| rows().iter().filter_map(|row| row[name].as_array().map(Vec::len)).collect::<Vec<_>>();
    assert_eq!(found("five"), [5; 30]);
    assert!(found("all").len() == 30 && found("all").iter().any(|found| *found < 10));
}

/// Files of version 11 were made without n-grams of characters, whatever they say.
#[test]
fn old_models_say_what_cpp_says() {
    let mut bytes = fs_err::read(fixture("words3.bin")).unwrap();
    bytes[4] = 11;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("old.bin");
    fs_err::write(&path, bytes).unwrap();
    says_what_cpp_says("old", &Model::open(&path).unwrap());
}

/// `tests/models/fetch.sh` fetches it.
#[test]
fn lid_176_says_what_cpp_says() {
    let Some(path) = crate::real::fetched("lid.176.ftz") else { return };
    says_what_cpp_says("lid.176.ftz", &Model::open(&path).unwrap());
}

/// A text of several lines is one line here, and no-break spaces are no spaces.
#[test]
fn a_line_feed_is_a_space() {
    let model = Model::open(&fixture("words2.bin")).unwrap();
    let answer =
        |text| model.predict(text, 3).into_iter().map(|(label, score)| format!("{label} {score}")).collect::<Vec<_>>();
    assert_eq!(answer("le petit\ngarçon\n\n"), answer("le petit garçon"));
    assert_ne!(answer("que dit-il\u{a0}?"), answer("que dit-il ?"));
    assert!(model.predict("le petit", 0).is_empty() && model.predict("le petit", 99).len() == 10);
}

/// A detector is asked for the likeliest label, and for one label among the ten likeliest.
#[test]
fn a_detector_reads_models_of_word_pairs() {
    let detector = Detector::fast_text(&fixture("words2.bin")).unwrap();
    let text = "Elle demanda\u{a0}: «\u{a0}Peux-tu venir dîner demain\u{202f}?\u{a0}»";
    let guess = detector.detect(text).unwrap();
    assert!(guess.label == "fra_Latn" && guess.score <= 1.0, "{guess:?}");
    assert!((detector.score(text, "fr") - guess.score).abs() < 1e-12);
    assert!(detector.score(text, "en") < 0.5 && detector.score(text, "xx") == 0.0);
}

/// Cut off anywhere, and with a byte changed anywhere in what says how large things are: an error or an answer.
#[test]
fn damaged_models_are_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("damaged.ftz");
    for name in ["pruned.ftz", "output.ftz", "tree.bin"] {
        let bytes = fs_err::read(fixture(name)).unwrap();
        for step in 0..40 {
            fs_err::write(&path, &bytes[..bytes.len() * step / 40]).unwrap();
            let error = Model::open(&path).err().unwrap();
            assert!(error.contains("damaged.ftz: not a"), "{error}");
        }
        for at in 0..100 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            fs_err::write(&path, &damaged).unwrap();
            match Model::open(&path) {
                Ok(model) => assert!(model.predict("une ligne", 2).len() <= 2),
                Err(error) => assert!(error.contains("damaged.ftz: "), "{error}"),
            }
        }
    }
}
