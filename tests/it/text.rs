//! The algorithms of curation beside those they follow: each answer here was given by the other program first.
//!
//! `tests/fixtures/curation` has the answers and the scripts that asked for them; the files say where their texts are from.

use std::path::Path;

use luthflow::text::language::Detector;
use luthflow::text::pii::{Kind, Pii};
use luthflow::text::quality::{Document, FineWeb, Gopher, Quality, Repetition, drop_symbol_lines};
use luthflow::text::repair::{Entities, Repair, fix_encoding};
use luthflow::text::simplify::simplify;
use luthflow::text::words::Words;
use serde_json::Value;

fn lines(name: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/curation/").to_owned() + name;
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn french_words_are_spacys() {
    let segments = lines("words_fr.jsonl");
    assert_eq!(segments.len(), 1045);
    for cut in &segments {
        let cut = cut.as_str().unwrap();
        let text = cut.replace('␟', "");
        let wanted: Vec<_> =
            cut.split(|c: char| c == '␟' || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
        assert_eq!(Words::SpacyFr.split(&text), wanted, "{text}");
    }
}

/// On simplified text, which MinHash hashes, French tokens are words between spaces, but for units after numbers.
#[test]
fn simplified_text_needs_no_french() {
    for cut in lines("words_fr.jsonl") {
        let simple = simplify(&cut.as_str().unwrap().replace('␟', ""));
        let french = Words::SpacyFr.split(&simple);
        if !simple.contains('0') && !simple.contains(|c: char| !c.is_alphanumeric() && c != ' ') {
            assert_eq!(french, Words::Whitespace.split(&simple));
        }
    }
}

/// The filters of datatrove, each alone, by the names of the fixture.
fn filters() -> Vec<(&'static str, Quality)> {
    let none = || Quality::none(Words::SpacyFr);
    let web = Quality::fineweb2_fr;
    vec![
        ("repetition", Quality { repetition: Some(Repetition::default()), ..none() }),
        ("repetition_fw2", Quality { fineweb: None, gopher: None, ..web() }),
        ("fineweb", Quality { fineweb: Some(FineWeb::default()), ..none() }),
        ("fineweb_fw2", Quality { repetition: None, gopher: None, ..web() }),
        ("gopher", Quality { gopher: Some(Gopher::default()), ..none() }),
        ("gopher_fw2", Quality { repetition: None, fineweb: None, ..web() }),
        ("c4", Quality { c4: Some(luthflow::text::quality::C4::default()), ..none() }),
        ("c4_paragraph", Quality::c4_paragraphs(Words::SpacyFr)),
    ]
}

#[test]
fn quality_is_judged_as_datatrove_judges() {
    let rows = lines("quality_fr.jsonl");
    let (mut dropped, mut kept) = (0, 0);
    for (name, quality) in filters() {
        for row in &rows {
            let text = row["text"].as_str().unwrap();
            let finding = quality.judge(text);
            let rule = finding.as_ref().map_or("", |finding| &finding.rule);
            // Where datatrove fails on a text without words, the reason here is that it is empty.
            let wanted = match row[name].as_str().unwrap() {
                "error" => "empty",
                rule => rule,
            };
            assert_eq!(rule, wanted, "{name}: {finding:?} of {text:?}");
            if let Some(finding) = finding {
                assert_ne!(finding.value.partial_cmp(&finding.limit), Some(std::cmp::Ordering::Equal), "{finding:?}");
                dropped += 1;
            } else {
                kept += 1;
            }
        }
    }
    assert!(dropped > 400 && kept > 400, "{dropped} dropped, {kept} kept");
}

#[test]
fn c4_leaves_what_datatrove_leaves() {
    let rules = luthflow::text::quality::C4::default();
    for row in lines("quality_fr.jsonl").iter().filter(|row| row["c4"] == "") {
        let text = row["text"].as_str().unwrap();
        let wanted = row.get("c4_text").and_then(Value::as_str).unwrap_or(text);
        assert_eq!(rules.keep(text, Words::SpacyFr).unwrap(), wanted);
    }
}

#[test]
fn lines_of_symbols_go_as_in_datatrove() {
    let mut changed = 0;
    for row in lines("quality_fr.jsonl") {
        let text = row["text"].as_str().unwrap();
        let same = || luthflow::text::python::lines(text).collect::<Vec<_>>().join("\n");
        let wanted = row.get("symbol_lines").and_then(Value::as_str).map_or_else(same, str::to_owned);
        changed += usize::from(row.get("symbol_lines").is_some());
        assert_eq!(drop_symbol_lines(text), wanted, "{text:?}");
    }
    assert!(changed > 5, "{changed}");
}

#[test]
fn thresholds_for_answers_keep_answers() {
    let quality = Quality::sft_fr();
    for kept in [
        "La réponse est 42.",
        "```python\ndef f(x):\n    return {x: 1}\n```",
        "- un\n- deux\n- trois",
        r"On a $\frac{1}{2} + \frac{1}{3} = \frac{5}{6}$, donc $x = \boxed{\frac{5}{6}}$.",
    ] {
        assert_eq!(quality.judge(kept), None, "{kept}");
    }
    let loops = "Je ne sais pas quoi vous dire de plus à ce sujet. ".repeat(20);
    assert_eq!(quality.judge(&loops).unwrap().rule, "top_3_gram");
    assert_eq!(quality.judge("").unwrap().rule, "empty");
    assert_eq!(Document::new("un mot", Words::Uax29).words(), ["un", "mot"]);
}

/// ftfy's own cases, those it fails among them: wrong in the same way is what parity means.
#[test]
fn text_is_mended_as_ftfy_mends_it() {
    let cases = lines("ftfy.jsonl");
    assert_eq!(cases.len(), 161);
    let off = Repair {
        unescape_html: Entities::Never,
        remove_terminal_escapes: false,
        remove_control_chars: false,
        ..Repair::DATATROVE
    };
    for case in &cases {
        let (label, original) = (&case["label"], case["original"].as_str().unwrap());
        assert_eq!(fix_encoding(original), case["encoding"].as_str().unwrap(), "{label}");
        assert_eq!(Repair::FTFY.fix(original), case["text"].as_str().unwrap(), "{label}");
        assert_eq!(Repair::DATATROVE.fix(original), case["datatrove"].as_str().unwrap(), "{label}");
        if case["expect"] == "pass" {
            assert_eq!(Repair::FTFY.fix(original), case["fixed"].as_str().unwrap(), "{label}");
            let encoding = case.get("fixed-encoding").unwrap_or(&case["fixed"]);
            assert_eq!(off.fix(original), encoding.as_str().unwrap(), "{label}");
        }
    }
}

/// What is right stays right, and what was mended once needs no mending.
#[test]
fn mending_leaves_good_french_alone() {
    for cut in lines("words_fr.jsonl") {
        let text = cut.as_str().unwrap().replace('␟', "");
        assert_eq!(Repair::DATATROVE.fix(&text), text);
        let broken: String = text.bytes().map(char::from).collect();
        let mended = Repair::DATATROVE.fix(&broken).into_owned();
        assert_eq!(Repair::DATATROVE.fix(&mended), mended);
    }
}

#[test]
fn personal_data_is_what_others_say_it_is() {
    let mut seen = 0;
    for row in lines("pii.jsonl") {
        let (text, kind) = (row["text"].as_str().unwrap(), row["kind"].as_str().unwrap());
        if kind == "datatrove" {
            let mut masked = text.to_owned();
            let finder = Pii::new(&[Kind::Email, Kind::Ip], Vec::new());
            for found in finder.find(text).iter().rev() {
                masked.replace_range(found.start..found.end, if found.kind == Kind::Ip { "<IP>" } else { "<MAIL>" });
            }
            assert_eq!(masked, row["found"].as_str().unwrap());
        } else {
            let kind = *Kind::ALL.iter().find(|known| known.name() == kind).unwrap();
            let found = Pii::new(&[kind], Vec::new()).find(text);
            assert_eq!(!found.is_empty(), row["found"].as_bool().unwrap(), "{}: {text}: {found:?}", kind.name());
            if let Some(found) = found.first() {
                assert!(text[..found.start].ends_with(' ') && !text[found.end..].starts_with(char::is_alphanumeric));
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 243);
}

#[test]
fn masking_is_stable_and_done_once() {
    let finder = Pii::new(&Kind::ALL, vec!["luthflow.fr".to_owned(), "06 12 34 56 78".to_owned()]);
    let text =
        "Écrire à jean@exemple.fr ou a@luthflow.fr, appeler le 06 12 34 56 78 ou le 07 11 22 33 44, serveur 8.8.8.8.";
    let (masked, found) = finder.mask(text);
    let kinds: Vec<_> = found.iter().map(|found| found.kind.name()).collect();
    assert_eq!(kinds, ["email", "phone_fr", "ip"]);
    assert_eq!(finder.mask(&masked), (masked.clone(), Vec::new()));
    let other = format!("{} jean@exemple.fr", "Autre texte, 1.2.3 et 2024-01-02, 3,14159265358979.");
    let (again, _) = finder.mask(&other);
    let person = |text: &str| text.split(' ').find(|word| word.contains("@example")).unwrap().to_owned();
    assert_eq!(person(&masked), person(&again));
    assert_eq!(finder.find(&other).len(), 1, "{:?}", finder.find(&other));
}

/// fastText's model answers as fastText's own program does. `tests/models/fetch.sh` fetches it.
#[test]
fn fast_text_models_say_what_cpp_says() {
    let Some(path) = crate::real::fetched("lid.176.ftz") else { return };
    let detector = Detector::fast_text(&path).unwrap();
    let rows = lines("lid.jsonl");
    for row in &rows {
        let (text, label, score) = (row[0].as_str().unwrap(), row[1].as_str().unwrap(), row[2].as_f64().unwrap());
        // A text without letters has no language here; fastText calls it English.
        let Some(guess) = detector.detect(text) else {
            assert!(!text.contains(char::is_alphabetic));
            continue;
        };
        assert_eq!(guess.label, label, "{text}");
        assert!((guess.score - score.min(1.0)).abs() < 1e-5, "{text}: {guess:?}, {score}");
    }
    assert_eq!(rows.len(), 247);
}

/// A model in GlotLID's shape (`fixtures/glotlid/make.py`) says what fastText's own program says: whole vectors, n-grams of
/// characters, labels with a script.
#[test]
fn models_like_glotlid_say_what_cpp_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/glotlid");
    let detector = Detector::fast_text(&folder.join("model.bin")).unwrap();
    let golden = fs_err::read_to_string(folder.join("golden.jsonl")).unwrap();
    let (mut unsure, mut lines) = (0, 0);
    for line in golden.lines() {
        let (text, guesses): (String, [(String, f64); 2]) = serde_json::from_str(line).unwrap();
        let guess = detector.detect(&text).unwrap();
        assert_eq!(guess.label, guesses[0].0, "{text}");
        for (label, score) in &guesses {
            let ours = detector.score(&text, label);
            assert!((ours - score.min(1.0)).abs() < 1e-5, "{text}: {label} {ours}, {score}");
        }
        assert!(guess.is(&guess.label) && guess.is(guess.label.split('_').next().unwrap()), "{guess:?}");
        unsure += u32::from(guesses[0].1 < 0.9);
        lines += 1;
    }
    assert!(lines == 73 && unsure > 10, "{lines} {unsure}");
}

#[test]
fn what_is_no_model_is_told() {
    let dir = tempfile::TempDir::new().unwrap();
    for bytes in [&b""[..], b"not a model", &[0xba, 0x16, 0x4f, 0x2f, 12, 0, 0, 0, 255, 255, 255, 255]] {
        let path = dir.path().join("lid.ftz");
        fs_err::write(&path, bytes).unwrap();
        let error = Detector::fast_text(&path).err().unwrap();
        assert!(error.contains("lid.ftz"), "{error}");
    }
    assert!(Detector::fast_text(&dir.path().join("none.bin")).err().unwrap().contains("none.bin"));
}
