//! The algorithms of curation beside those they follow: each answer here was given by the other program first.
//!
//! `tests/fixtures/curation` has the answers and the scripts that asked for them; the files say where their texts are from.

use luthflow::text::quality::{Document, FineWeb, Gopher, Quality, Repetition};
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
