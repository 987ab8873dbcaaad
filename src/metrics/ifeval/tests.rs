//! The references' verdicts, and each mended quirk.
//!
//! `ifeval.jsonl` holds answers of open models with the verdicts that M-IFEval published for them, chosen by `ifeval.py`.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Instruction, Rules, Totals, judge};

const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/ifeval.jsonl"));

fn read(row: &Value, rules: Rules) -> Vec<Instruction> {
    let ids = row["instruction_id_list"].as_array().unwrap().iter();
    let settings = row["kwargs"].as_array().unwrap().iter();
    let read = |(id, settings): (&Value, &Value)| {
        Instruction::read(id.as_str().unwrap(), settings.as_object().unwrap(), rules).unwrap()
    };
    ids.zip(settings).map(read).collect()
}

fn follows(id: &str, settings: &Value, rules: Rules, answer: &str) -> bool {
    let settings = settings.as_object().cloned().unwrap_or_default();
    judge(&[Instruction::read(id, &settings, rules).unwrap()], answer).strict[0]
}

#[test]
fn published_verdicts_are_reproduced() {
    let mut wrong = Vec::new();
    let mut totals = Totals::default();
    for line in GOLDEN.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let verdict = judge(&read(&row, Rules::Reference), row["response"].as_str().unwrap());
        totals.add(&verdict);
        if json!(verdict.strict) != row["strict"] || json!(verdict.loose) != row["loose"] {
            wrong.push(format!("{} {}", row["key"], row["instruction_id_list"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), totals.prompts);
    assert!(totals.prompts > 100);
    assert!(totals.scores().iter().all(|(_, score)| (0.2..0.9).contains(score)), "{totals:?}");
}

/// For each quirk: an id, its settings, an answer, the reference's verdict and ours.
#[test]
fn native_mends_quirks() {
    let none = json!({});
    let cases = [
        ("keywords:existence", json!({"keywords": ["c.t"]}), "a cat", true, false),
        (
            "keywords:frequency",
            json!({"keyword": "é", "relation": "at least", "frequency": 1}),
            "cafe\u{301}",
            false,
            true,
        ),
        ("language:response_language", json!({"language": "zh"}), "今天天气很好，我们去公园散步吧。", false, true),
        ("language:response_language", json!({"language": "fr"}), "1 2 3", true, false),
        (
            "length_constraints:number_sentences",
            json!({"relation": "less than", "num_sentences": 2}),
            "# Title\n\nOne\n\nTwo",
            true,
            false,
        ),
        ("length_constraints:number_words", json!({"relation": "less than", "num_words": 3}), "I don't", false, true),
        (
            "length_constraints:nth_paragraph_first_word",
            json!({"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "so"}),
            "**So** it is",
            false,
            true,
        ),
        ("detectable_content:number_placeholders", json!({"num_placeholders": 1}), "[x](y)", true, false),
        ("detectable_content:postscript", json!({"postscript_marker": "P.S."}), "see chap.s.v.p", true, false),
        ("fr:detectable_content:postscript", json!({"postscript_marker": "PS"}), "les corps.", true, false),
        ("fr:detectable_content:postscript", json!({"postscript_marker": "P.-S."}), "**P.-S. :** oui", true, true),
        ("detectable_format:number_bullet_lists", json!({"num_bullets": 1}), "* a\n---", false, true),
        ("detectable_format:constrained_response", none.clone(), "Ma réponse est oui.", false, true),
        ("detectable_format:number_highlighted_sections", json!({"num_highlights": 1}), "* a *b", true, false),
        (
            "detectable_format:multiple_sections",
            json!({"section_spliter": "Day", "num_sections": 1}),
            "the other day 2 men",
            false,
            false,
        ),
        (
            "detectable_format:multiple_sections",
            json!({"section_spliter": "Day", "num_sections": 1}),
            "**DAY 1**\nx",
            false,
            true,
        ),
        ("detectable_format:json_format", none.clone(), "```json\n[NaN]\n```", true, false),
        ("combination:repeat_prompt", json!({"prompt_to_repeat": "Say  it"}), "say it now", false, true),
        ("startend:end_checker", json!({"end_phrase": "C'est tout."}), "Bon. **C’est tout.**", false, true),
        ("startend:quotation", none.clone(), "« oui »", false, true),
        (
            "change_case:capital_word_frequency",
            json!({"capital_relation": "less than", "capital_frequency": 1}),
            "I am",
            false,
            true,
        ),
        ("change_case:english_capital", none.clone(), "42", false, false),
        ("punctuation:no_comma", none.clone(), "一，二", true, false),
        ("fr:special_character:no_accents", none, "cafe\u{301}", true, false),
    ];
    for (id, settings, answer, reference, native) in cases {
        assert_eq!(follows(id, &settings, Rules::Reference, answer), reference, "{id} by the reference: {answer}");
        assert_eq!(follows(id, &settings, Rules::Native, answer), native, "{id} native: {answer}");
    }
}

#[test]
fn what_the_references_would_draw_is_an_error() {
    let fault = |id: &str, settings: Value| {
        Instruction::read(id, settings.as_object().unwrap(), Rules::Reference).unwrap_err().to_string()
    };
    says(&fault("keywords:exists", json!({})), "`keywords:exists` is not a kind of instruction");
    says(
        &fault("detectable_format:number_bullet_lists", json!({"num_bullets": null})),
        "needs `num_bullets`: a number above zero",
    );
    says(&fault("keywords:existence", json!({"keywords": ["("]})), "`(`, which is not a regular expression");
    says(
        &fault("length_constraints:number_words", json!({"num_words": 3, "relation": "at most"})),
        "`less than` or `at least`",
    );
}

fn says(text: &str, part: &str) {
    assert!(text.contains(part), "{text}");
}

#[test]
fn loose_readings_leave_lines_and_asterisks_out() {
    let quotation = Instruction::read("startend:quotation", &Map::new(), Rules::Reference).unwrap();
    let verdict = judge(&[quotation], "Sure:\n*\"Yes.\"*\nBye");
    assert_eq!((verdict.strict, verdict.loose), (vec![false], vec![true]));
}

#[test]
fn long_answers_take_bounded_time() {
    let rows: Vec<Value> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for long in
        ["[".repeat(300_000), "* ".repeat(150_000), ". . ".repeat(80_000), "a@".repeat(150_000), "a!a".repeat(100_000)]
    {
        for rules in [Rules::Reference, Rules::Native] {
            let instructions: Vec<_> = rows.iter().take(60).flat_map(|row| read(row, rules)).collect();
            judge(&instructions, &long);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_answer_is_judged(answer in r#"([ \na-zA-Zéç.,!?*\-"'<>\[\]#«»]|\PC|P\.S\.|\*\*\*|Section 1){0,80}"#) {
        for line in GOLDEN.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            for rules in [Rules::Reference, Rules::Native] {
                let verdict = judge(&read(&row, rules), &answer);
                prop_assert!(verdict.strict.iter().zip(&verdict.loose).all(|(strict, loose)| *loose || !strict));
            }
        }
    }
}

/// `nltk.jsonl` is made by `tests/fixtures/metrics/nltk.py`.
#[test]
fn sentences_words_and_languages_are_pythons() {
    use super::language::detect;
    use super::sentences::{Model, sentences, words};
    const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/nltk.jsonl"));
    for line in GOLDEN.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        let mut tokens = Vec::new();
        words(text, |word| tokens.push(word.to_owned()));
        assert_eq!(json!(sentences(text, Model::english())), row["english"], "{text:?}");
        assert_eq!(json!(sentences(text, Model::french())), row["french"], "{text:?}");
        assert_eq!(json!(tokens), row["words"], "{text:?}");
        assert_eq!(json!(detect(text)), row["language"], "{text:?}");
    }
}
