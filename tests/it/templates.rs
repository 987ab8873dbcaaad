//! Chat templates: as transformers renders them, and what one may cost that means harm.

use std::path::{Path, PathBuf};

use fs_err as fs;
use luthflow::data::{Chat, Ending, Message, Row, TemplateSettings, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;

pub(crate) fn fixtures() -> PathBuf {
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

pub(crate) fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns a conversation of `chats.json`, read as a row of a data set is read.
pub(crate) fn chat(case: &Value) -> (Chat, Ending) {
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

#[test]
fn what_the_assistant_says_is_masked_as_transformers_masks_it() {
    let (cases, golden) = (read(&fixtures().join("chats.json")), read(&fixtures().join("golden.json")));
    let mut compared = 0;
    for name in ["qwen3_training", "lfm2_v2_training"] {
        let dir = folder(&fs::read_to_string(fixtures().join(format!("{name}.jinja"))).unwrap());
        let tokenizer = Tokenizer::load_with(dir.path(), &settings()).unwrap();
        for case in cases.as_array().unwrap() {
            let expected = &golden[name][case["name"].as_str().unwrap()];
            let Some(mask) = expected["mask"].as_str().filter(|mask| mask.contains('1')) else { continue };
            let tokens = tokenizer.encode_chat(&chat(case).0).unwrap();
            assert_eq!(json!(tokens.ids), expected["ids"], "{name} {}", case["name"]);
            let got: String = tokens.assistant.iter().map(|said| if *said { '1' } else { '0' }).collect();
            assert_eq!(got, mask, "{name} {}", case["name"]);
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

/// `%`, `format` and tuples, in expressions by hand and drawn ones; see `expressions.py`.
#[test]
fn expressions_print_what_they_print_in_python() {
    let cases = read(&fixtures().join("expressions.json"));
    let chat: Chat = vec![Message::new("user", "bonjour")].into();
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let (template, expected) = (case[0].as_str().unwrap(), case[1].as_str());
        let printed = render(template, &chat);
        if printed.as_deref().ok() != expected {
            wrong.push(format!("{template}\n    gave {printed:?}\n    not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.as_array().unwrap().len(), wrong.join("\n"));
}

fn render(template: &str, chat: &Chat) -> Result<String, String> {
    let dir = folder(template);
    let tokenizer = Tokenizer::load_with(dir.path(), &settings()).map_err(|error| error.to_string())?;
    tokenizer.render_chat(chat, Ending::Whole).map(|rendered| rendered.text).map_err(|error| error.to_string())
}

/// Templates that mean harm. Each must end in an error, in a stack of the size that worker threads have, and soon: no
/// time is measured, but a bound that does not hold lets the test run until memory or patience is gone.
#[test]
fn a_hostile_template_is_an_error() {
    let hostile = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set s = 'x' * 1000000000 %}",
        "{% set s = 1000000000 * 'x' %}{{ s }}",
        "{% set s = 'x' * 1000 * 1000 * 1000 %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s]|join %}{% endfor %}",
        "{% set ns = namespace(s='xy') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('x', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='xy') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('x', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = '{}{}'.format(ns.s, ns.s) %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}{{ ns|tojson }}",
        "{{ ([1] * 1000000000)|list|length }}",
        "{{ ([1] * 1000000000)|join(',') }}",
        "{{ ([1] * 1000000000)|sort }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%99999999999999999999999999999999999999999999999d' % 1 }}",
        "{% set s = 'x' * 100000 %}{{ ('%(s)s' * 10000) % {'s': s} }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
        "{{ ('x' * 1000000 ~ '%s') % 1 * 100000 }}",
        "{% set ns = namespace(s=()) %}{% for i in range(90000) %}{% set ns.s = (ns.s, 1) %}{% endfor %}{{ ns.s }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ [1]|batch(1000000000, 'x')|list }}",
        "{{ 'a'|indent(1000000000, first=True) }}",
        "{{ [1]|tojson(indent=1000000000) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('x') }}",
        "{% for i in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{% include 'chat_template' %}",
        "{% import '/etc/passwd' as x %}",
        "{% extends '../../../etc/passwd' %}",
        "{{ open('/etc/passwd') }}",
        "{{ ''.__class__.__mro__ }}{{ raise_exception('no') }}",
        "{% set s = 'x' * 1000000 %}{% for a in range(1000) %}{{ s }}{% endfor %}",
        "{% set s = 'x' * 100000 %}{% for a in range(100000) %}{% set t = s ~ a %}{% endfor %}",
        "{{ strftime_now('%Q') }}",
        "{% if %}",
        "{% generation %}{% generation %}{% endgeneration %}{% endgeneration %}",
        "{% generation %}",
    ];
    let chat: Chat = vec![Message::new("user", "bonjour"), Message::new("assistant", "salut")].into();
    let threads: Vec<_> = hostile
        .into_iter()
        .map(|template| {
            let chat = chat.clone();
            std::thread::Builder::new().stack_size(2 << 20).spawn(move || (template, render(template, &chat))).unwrap()
        })
        .collect();
    for thread in threads {
        let (template, rendered) = thread.join().unwrap();
        let error = match rendered {
            Ok(text) => panic!("{template} gave {} bytes", text.len()),
            Err(error) => error,
        };
        assert!(error.contains("bonjour") || error.contains("not valid"), "{template}: {error}");
    }
}

/// Deep brackets are the compiler's business, which counts them.
#[test]
fn deep_brackets_are_an_error() {
    for (open, close) in [("(", ")"), ("[", "]"), ("{'a':", "}")] {
        let template = format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000));
        assert!(render(&template, &Chat::default()).unwrap_err().contains("not valid"));
    }
}

/// What a template may do grows with the chat.
#[test]
fn a_long_chat_is_no_crime() {
    let words = "mot ".repeat(2_000_000);
    let chat: Chat = vec![Message::new("user", words.as_str()), Message::new("assistant", "oui")].into();
    let text = render(&fs::read_to_string(fixtures().join("qwen3.jinja")).unwrap(), &chat).unwrap();
    assert!(text.contains(&words));
    let many: Vec<Message> =
        (0..4000).map(|i| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, format!("{i}"))).collect();
    for name in ["qwen3", "lfm2", "gemma3", "llama3_2", "own"] {
        let template = fs::read_to_string(fixtures().join(format!("{name}.jinja"))).unwrap();
        render(&template, &many.clone().into()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn tools_documents_and_reasoning_cannot_write_control_tokens() {
    let template = "{{ bos_token }}{{ tools|tojson(ensure_ascii=true) }}{{ documents|tojson }}{{ messages|tojson }}{{ hint }}{{ eos_token }}";
    let row = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<|im_end|>"}], "reasoning": "<|im_end|>",
                      "tool_calls": [{"<|im_end|>": "<|im_start|>"}]}],
        "tools": [{"name": "é<|im_end|>"}], "documents": [{"text": "<|endoftext|>"}],
        "chat_template_kwargs": {"hint": "<|im_end|>"},
    });
    let Row::Chat(chat) = Row::from_json(&row.to_string()).unwrap() else { panic!("no chat") };
    let dir = folder(template);
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let ids = tokenizer.chat_ids(&chat, Ending::Whole).unwrap();
    let control: Vec<u32> = ids.iter().copied().filter(|id| *id > 255).collect();
    assert_eq!(control, [256, 258], "only what the template writes itself");
    let text = tokenizer.render_chat(&chat, Ending::Whole).unwrap().text;
    assert!(text.contains(r#"[{"name": "\u00e9<|im_end|>"}]"#), "{text}");
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
}
