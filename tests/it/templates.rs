//! Chat templates: as transformers renders them, and what one may cost that means harm.

use std::path::{Path, PathBuf};

use fs_err as fs;
use luthflow::data::{Chat, Ending, Message, Row, TemplateSettings, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;

fn fixtures() -> PathBuf {
    repository().join("tests/fixtures/templates")
}

/// What `golden.py` gives as special tokens.
const SPECIAL: &str = r#"{"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}"#;

/// Returns a folder with a tokenizer of single bytes and a template.
fn folder(template: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let tokenizer = fs::read(repository().join("tests/fixtures/qwen3_tiny/tokenizer.json")).unwrap();
    fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), SPECIAL).unwrap();
    fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    dir
}

/// The date that `golden.py` pins.
fn settings() -> TemplateSettings {
    let date = chrono::NaiveDate::from_ymd_opt(2024, 7, 26).and_then(|date| date.and_hms_opt(9, 5, 0));
    TemplateSettings { date, ..TemplateSettings::default() }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns a conversation of `chats.json`, read as a row of a data set is read.
fn chat(case: &Value) -> (Chat, Ending) {
    let row = json!({
        "messages": case["messages"], "tools": case["tools"], "documents": case["documents"],
        "chat_template_kwargs": case["variables"],
    });
    let Row::Chat(chat) = Row::from_json(&row.to_string()).unwrap() else { panic!("no chat") };
    let ending = match case["ending"].as_str() {
        Some("prompt") => Ending::Prompt,
        Some("open") => Ending::Open,
        _ => Ending::Whole,
    };
    (chat, ending)
}

/// Returns what differs from the golden renderings of the templates in a folder.
fn differences(templates: &Path, cases: &Path) -> (usize, Vec<String>) {
    let (cases, golden) = (read(cases), read(&templates.join("golden.json")));
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, results) in golden.as_object().unwrap() {
        let dir = folder(&fs::read_to_string(templates.join(format!("{name}.jinja"))).unwrap());
        let tokenizer = match Tokenizer::load_with(dir.path(), &settings()) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for case in cases.as_array().unwrap() {
            let case_name = case["name"].as_str().unwrap();
            let (chat, ending) = chat(case);
            let Some(expected) = results.get(case_name) else { continue };
            let got = tokenizer.render_chat(&chat, ending);
            compared += 1;
            match (got, expected["text"].as_str()) {
                (Ok(got), Some(text)) if got.text == text => {
                    if let Some(said) =
                        expected.get("said").filter(|said| said.as_array().is_some_and(|s| !s.is_empty()))
                    {
                        let spans: Vec<[usize; 2]> = got.said.iter().map(|span| [span.start, span.end]).collect();
                        if json!(spans) != *said {
                            wrong.push(format!("{name}, {case_name}: said {spans:?}, expected {said}"));
                        }
                    }
                }
                (Ok(got), Some(text)) => {
                    let same = got.text.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
                    let show = |text: &str| {
                        String::from_utf8_lossy(&text.as_bytes()[same.saturating_sub(30)..])
                            .chars()
                            .take(90)
                            .collect::<String>()
                    };
                    wrong.push(format!(
                        "{name}, {case_name}:\n    got {:?}\n    not {:?}",
                        show(&got.text),
                        show(text)
                    ));
                }
                (Ok(got), None) => wrong.push(format!("{name}, {case_name}: {:?} instead of {expected}", got.text)),
                (Err(error), Some(_)) => wrong.push(format!("{name}, {case_name}: {error}")),
                (Err(_), None) => {}
            }
        }
    }
    (compared, wrong)
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let (compared, wrong) = differences(&fixtures(), &fixtures().join("chats.json"));
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= 12 * 8, "{compared}");
}

/// `LUTHFLOW_TEMPLATES` names a folder with more templates and the `golden.json` that `golden.py` made for them.
#[test]
fn more_templates_are_rendered_as_transformers_renders_them() {
    let Ok(more) = std::env::var("LUTHFLOW_TEMPLATES") else { return };
    let (compared, wrong) = differences(Path::new(&more), &fixtures().join("chats.json"));
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}
