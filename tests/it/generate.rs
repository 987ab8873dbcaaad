//! Text from models: choosing tokens, text as it streams, many prompts at once, and the commands on top.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use fs_err as fs;
use luthflow::data::{Chat, Ending, Message, TemplateSettings, TextStream, Tokenizer};
use luthflow::generate::{Answer, Generator, Listener, Options, Sampler, Sampling, Silent, Stopped};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;
use crate::world::{Ran, World};

fn golden(name: &str) -> Vec<Value> {
    let path = repository().join("tests/fixtures/generate").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Writes a model folder: the tiny Qwen3 and its tokenizer of single bytes. `config` changes its configuration.
pub(crate) fn tiny(dir: &Path, config: &Value) {
    let from = repository().join("tests/fixtures/qwen3_tiny");
    for name in ["tokenizer.json", "tokenizer_config.json", "tied/model.safetensors"] {
        let file = Path::new(name).file_name().unwrap();
        fs::write(dir.join(file), fs::read(from.join(name)).unwrap()).unwrap();
    }
    let mut own: Value = serde_json::from_slice(&fs::read(from.join("tied/config.json")).unwrap()).unwrap();
    for (name, value) in config.as_object().unwrap() {
        own[name] = value.clone();
    }
    fs::write(dir.join("config.json"), own.to_string()).unwrap();
}

fn generator(dir: &Path) -> Generator {
    Generator::load(dir, &TemplateSettings::default()).unwrap()
}

fn tiny_generator() -> (TempDir, Generator) {
    let dir = TempDir::new().unwrap();
    tiny(dir.path(), &json!({}));
    let generator = generator(dir.path());
    (dir, generator)
}

pub(crate) fn greedy(max_tokens: usize) -> Options {
    Options { sampling: Sampling::greedy(), max_tokens, stop: Vec::new(), seed: 0, batch: 8 }
}

fn sampling(settings: &Value, base: Sampling) -> Sampling {
    let number = |name: &str, default: f32| settings[name].as_f64().map_or(default, |value| value as f32);
    Sampling {
        temperature: number("temperature", base.temperature),
        top_k: settings["top_k"].as_u64().map_or(0, |k| k as usize),
        top_p: number("top_p", 1.0),
        min_p: number("min_p", 0.0),
        repetition_penalty: number("repetition_penalty", 1.0),
    }
}

/// `sampling.json` holds what transformers' logits processors leave.
#[test]
fn the_tokens_that_transformers_leaves_are_left_with_its_probabilities() {
    for case in golden("sampling.json") {
        let base = Sampling { temperature: 1.0, ..Sampling::greedy() };
        let wanted = sampling(&case["settings"], base);
        let mut sampler = Sampler::new(wanted, 0, 0);
        sampler.saw(&ids(&case["seen"]));
        let logits = numbers(&case["logits"]);
        let left = sampler.distribution(&logits);
        let expected = case["left"].as_array().unwrap();
        assert_eq!(left.len(), expected.len(), "{}", case["settings"]);
        for ((id, probability), expected) in left.iter().zip(expected) {
            assert_eq!(u64::from(*id), expected[0].as_u64().unwrap(), "{}", case["settings"]);
            let expected = expected[1].as_f64().unwrap();
            assert!(
                (f64::from(*probability) - expected).abs() < 1e-6,
                "{}: {probability} {expected}",
                case["settings"]
            );
        }
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..wanted }, 0, 0);
        sampler.saw(&ids(&case["seen"]));
        let (best, log_prob) = sampler.choose(&logits).unwrap();
        assert_eq!(u64::from(best), case["greedy"].as_u64().unwrap(), "{}", case["settings"]);
        assert!((f64::from(log_prob) - case["log_prob"].as_f64().unwrap()).abs() < 1e-5, "{}", case["settings"]);
    }
}

/// `answers.json` holds what transformers generates.
#[test]
fn answers_are_those_of_transformers() {
    let (_dir, generator) = tiny_generator();
    for expected in golden("answers.json") {
        let prompt = generator.text_prompt(expected["prompt"].as_str().unwrap()).unwrap();
        assert_eq!(json!(prompt), expected["prompt_ids"]);
        let options = Options { sampling: sampling(&expected["settings"], Sampling::greedy()), ..greedy(40) };
        let answer = generator.run(&[prompt], &options, &mut Silent).unwrap().remove(0);
        assert_eq!(json!(answer.tokens), expected["ids"], "{}", expected["prompt"]);
        assert_eq!(answer.text, expected["text"].as_str().unwrap());
        for (got, expected) in answer.log_probs.iter().zip(numbers(&expected["log_probs"])) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}

/// SmolLM2-135M-Instruct, from its GGUF file.
#[test]
fn answers_of_a_real_model_are_those_of_transformers() {
    let Some(dir) = crate::real::model() else { return };
    let generator = generator(dir);
    let all = golden("smollm2.json");
    for penalised in [false, true] {
        let some: Vec<&Value> =
            all.iter().filter(|answer| answer["settings"].as_object().unwrap().is_empty() != penalised).collect();
        if some.is_empty() {
            continue;
        }
        let prompts: Vec<Vec<u32>> =
            some.iter().map(|answer| generator.text_prompt(answer["prompt"].as_str().unwrap()).unwrap()).collect();
        let options = Options { sampling: sampling(&some[0]["settings"], Sampling::greedy()), ..greedy(40) };
        let answers = generator.run(&prompts, &options, &mut Silent).unwrap();
        for ((prompt, answer), expected) in prompts.iter().zip(&answers).zip(&some) {
            assert_eq!(json!(prompt), expected["prompt_ids"]);
            assert_eq!(json!(answer.tokens), expected["ids"], "{}", expected["prompt"]);
            assert_eq!(answer.text, expected["text"].as_str().unwrap());
            for (got, expected) in answer.log_probs.iter().zip(numbers(&expected["log_probs"])) {
                assert!((got - expected).abs() < 1e-3, "{got} {expected}");
            }
        }
    }
    // The template writes what transformers' does.
    let chat: Chat = vec![Message::new("user", "What is the capital of France?")].into();
    assert_eq!(json!(generator.chat_prompt(&chat).unwrap()), all[4]["prompt_ids"]);
}

/// Collects what is said.
#[derive(Default)]
struct Heard {
    texts: Vec<String>,
    finished: Vec<usize>,
    /// Stop after so many tokens.
    patience: Option<usize>,
    written: usize,
}

impl Listener for Heard {
    fn text(&mut self, index: usize, piece: &str) {
        self.texts.resize(self.texts.len().max(index + 1), String::new());
        self.texts[index].push_str(piece);
    }

    fn finished(&mut self, index: usize, _: &Answer) {
        self.finished.push(index);
    }

    fn went_on(&mut self, _: usize, written: usize) {
        self.written = written;
    }

    fn cancelled(&self) -> bool {
        self.patience.is_some_and(|patience| self.written >= patience)
    }
}

#[test]
fn an_answer_depends_on_nothing_else_in_the_batch() {
    let (_dir, generator) = tiny_generator();
    let texts = ["a", "Il était", "longer, so that it ends later", "b", "été", "The", "x y z"];
    let prompts: Vec<Vec<u32>> = texts.iter().map(|text| generator.text_prompt(text).unwrap()).collect();
    let sampling = Sampling { temperature: 1.0, top_p: 0.95, repetition_penalty: 1.1, ..Sampling::greedy() };
    let run = |batch: usize| {
        let mut heard = Heard::default();
        let options = Options { sampling, seed: 3, batch, ..greedy(12) };
        let answers = generator.run(&prompts, &options, &mut heard).unwrap();
        assert_eq!(heard.finished.len(), prompts.len());
        for (answer, text) in answers.iter().zip(&heard.texts) {
            assert_eq!(&answer.text, text, "what streams is what is given back");
            assert_eq!(answer.text, generator.tokenizer().decode_visible(&answer.tokens).unwrap());
        }
        answers.into_iter().map(|answer| (answer.tokens, answer.stopped)).collect::<Vec<_>>()
    };
    let one = run(1);
    assert_eq!(one, run(3));
    assert_eq!(one, run(8));
    assert!(one.iter().any(|(tokens, _)| *tokens != one[0].0), "the seed is not all there is");
}

#[test]
fn an_answer_ends_for_a_reason() {
    let (dir, generator) = tiny_generator();
    let prompt = generator.text_prompt("Il était une fois").unwrap();
    let run = |generator: &Generator, options: &Options| {
        generator.run(std::slice::from_ref(&prompt), options, &mut Silent).unwrap().remove(0)
    };
    let whole = run(&generator, &greedy(30));
    assert_eq!((whole.stopped.clone(), whole.tokens.len()), (Stopped::Length, 30));
    assert_eq!(run(&generator, &greedy(0)).tokens, [0; 0]);
    // A text from the middle of the answer.
    let stop: String = whole.text.chars().skip(5).take(3).collect();
    let cut = run(&generator, &Options { stop: vec!["never".into(), stop.clone()], ..greedy(30) });
    assert_eq!(cut.stopped, Stopped::Text(stop.clone()));
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
    let room = generator.context();
    let end = run(&generator, &greedy(10_000));
    assert!(end.stopped == Stopped::Context || matches!(end.stopped, Stopped::Token(_)));
    assert!(end.prompt_tokens + end.tokens.len() <= room + 1);
    // The folder says that the token which comes first ends a text.
    let first = whole.tokens[2];
    fs::write(dir.path().join("generation_config.json"), json!({"eos_token_id": [7, first]}).to_string()).unwrap();
    let ended = run(&self::generator(dir.path()), &greedy(30));
    assert_eq!(ended.stopped, Stopped::Token(first));
    assert_eq!(ended.tokens.last(), Some(&first));
    let mut heard = Heard { patience: Some(4), ..Heard::default() };
    let stopped = generator.run(&[prompt.clone(), prompt.clone()], &Options { batch: 1, ..greedy(30) }, &mut heard);
    let stopped = stopped.unwrap();
    assert_eq!(stopped.len(), 1, "the second was not begun");
    assert_eq!(stopped[0].stopped, Stopped::Cancelled);
    assert!(whole.text.starts_with(&stopped[0].text));
}

#[test]
fn a_conversation_is_what_its_turns_are_one_by_one() {
    let dir = TempDir::new().unwrap();
    tiny(dir.path(), &json!({"max_position_embeddings": 2048}));
    let generator = generator(dir.path());
    let mut thread = generator.thread();
    let mut chat = Chat::default();
    for question in ["Bonjour", "Et après ?", "Fin"] {
        chat.messages.push(Message::new("user", question));
        let prompt = generator.chat_prompt(&chat).unwrap();
        let answer = thread.answer(&prompt, &greedy(9), &mut Silent).unwrap();
        let alone = generator.run(&[prompt], &greedy(9), &mut Silent).unwrap().remove(0);
        assert_eq!(answer.tokens, alone.tokens);
        assert_eq!(answer.text, alone.text);
        chat.messages.push(Message::new("assistant", answer.text));
    }
    // Another story: what was read is of no use.
    let prompt = generator.text_prompt("autre").unwrap();
    let answer = thread.answer(&prompt, &greedy(9), &mut Silent).unwrap();
    assert_eq!(answer.tokens, generator.run(&[prompt], &greedy(9), &mut Silent).unwrap()[0].tokens);
}

#[test]
fn what_a_folder_asks_for_counts_as_in_transformers() {
    let dir = TempDir::new().unwrap();
    tiny(dir.path(), &json!({}));
    let with = |config: Value| {
        fs::write(dir.path().join("generation_config.json"), config.to_string()).unwrap();
        Generator::load(dir.path(), &TemplateSettings::default()).map(|generator| generator.defaults().clone())
    };
    let sampled = with(json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95})).unwrap();
    assert_eq!(sampled.sampling, Sampling { temperature: 0.6, top_k: 20, top_p: 0.95, ..Sampling::greedy() });
    let greedy = with(json!({"temperature": 0.6, "top_k": 20, "eos_token_id": 5})).unwrap();
    assert_eq!((greedy.sampling, greedy.temperature), (Sampling::greedy(), 0.6));
    assert_eq!(greedy.end_tokens, [5, 258], "config.json has one too");
    for wrong in
        [json!({"do_sample": true, "top_p": 7}), json!({"temperature": "hot"}), json!({"repetition_penalty": 0})]
    {
        let error = with(wrong.clone()).unwrap_err().to_string();
        assert!(error.contains("generation_config.json"), "{wrong}: {error}");
    }
    fs::write(dir.path().join("generation_config.json"), "{").unwrap();
    assert!(Generator::load(dir.path(), &TemplateSettings::default()).is_err());
}

#[test]
fn a_tokenizer_of_another_model_is_an_error() {
    let dir = TempDir::new().unwrap();
    tiny(dir.path(), &json!({}));
    let path = dir.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut added = tokenizer["added_tokens"][2].clone();
    (added["id"], added["content"]) = (json!(259), json!("<extra>"));
    tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let error = Generator::load(dir.path(), &TemplateSettings::default()).err().unwrap().to_string();
    assert!(error.contains("token 259") && error.contains("259 tokens"), "{error}");
    let empty = TempDir::new().unwrap();
    let error = Generator::load(empty.path(), &TemplateSettings::default()).err().unwrap().to_string();
    assert!(error.contains("no model"), "{error}");
}

/// Writes a tokenizer as SentencePiece makes them: spaces as `▁`, unknown characters as bytes, a token in front.
fn sentencepiece(dir: &Path) -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    for name in ["<unk>", "<s>", "</s>"] {
        vocab.insert(name.into(), vocab.len().into());
    }
    for byte in 0..256 {
        vocab.insert(format!("<0x{byte:02X}>"), vocab.len().into());
    }
    for piece in ["▁", "a", "b", "é", "▁a", "\n"] {
        vocab.insert(piece.into(), vocab.len().into());
    }
    let added = |id: u32, name: &str| {
        json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": [["▁", "a"]]},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"});
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::load(dir).unwrap()
}

#[test]
fn a_text_begins_with_one_start_token() {
    let dir = TempDir::new().unwrap();
    let tokenizer = sentencepiece(dir.path());
    let library = tokenizers::Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
    for text in ["a b", "", "é\u{1F600}"] {
        assert_eq!(tokenizer.encode_prompt(text).unwrap(), library.encode(text, true).unwrap().get_ids(), "{text:?}");
    }
    assert_eq!(tokenizer.encode_prompt("<s>a").unwrap().iter().filter(|id| **id == 1).count(), 1);
    let chat: Chat = vec![Message::new("user", "a")].into();
    let ids = tokenizer.chat_ids(&chat, Ending::Whole).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == 1).count(), 1, "the template writes it and nothing adds another");
    // Training puts its own tokens around.
    assert!(!tokenizer.encode("a").unwrap().contains(&1));
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false});
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    assert!(!Tokenizer::load(dir.path()).unwrap().encode_prompt("a").unwrap().contains(&1));
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = TextStream::new(tokenizer);
    let mut text: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    text += &stream.finish().unwrap();
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Byte-level tokens, random ones: broken characters in all shapes.
    #[test]
    fn what_streams_is_the_whole_in_bytes(ids in prop::collection::vec(0_u32..259, 0..40)) {
        let dir = TempDir::new().unwrap();
        tiny(dir.path(), &json!({}));
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode_visible(&ids).unwrap());
    }

    /// Pieces with spaces and bytes in between.
    #[test]
    fn what_streams_is_the_whole_in_pieces(ids in prop::collection::vec(prop_oneof![0_u32..3, 3_u32..259, 198_u32..205, 131_u32..140, 259_u32..265], 0..40)) {
        let dir = TempDir::new().unwrap();
        let tokenizer = sentencepiece(dir.path());
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode_visible(&ids).unwrap());
    }

    #[test]
    fn text_streams_as_it_was(text in "[a-c é€😀\u{301}\n]{0,30}") {
        let dir = TempDir::new().unwrap();
        tiny(dir.path(), &json!({}));
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        prop_assert_eq!(streamed(&tokenizer, &tokenizer.encode(&text).unwrap()), text);
    }
}

/// A world with the tiny model in `model`.
fn world() -> World {
    let world = World::empty();
    fs::create_dir(world.path("model")).unwrap();
    tiny(&world.path("model"), &json!({}));
    world
}

pub(crate) fn with_input(world: &World, args: &[&str], input: &str) -> Ran {
    let mut command = world.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_command_answers_as_transformers_does() {
    let world = world();
    let expected = &golden("answers.json")[0];
    let prompt = expected["prompt"].as_str().unwrap();
    let args = ["generate", "--model", "model", "--prompt", prompt, "--max-tokens", "40", "--temperature", "0"];
    let words = world.run(&args);
    assert_eq!((words.code, words.stderr.as_str()), (0, ""));
    assert_eq!(words.stdout, format!("{}\n", expected["text"].as_str().unwrap()));
    world.write("prompt.txt", prompt);
    let both =
        ["generate", "--model", "model", "--prompt", "@prompt.txt", "--prompt", "a", "--max-tokens", "40", "--json"];
    let report = world.json(&both);
    assert_eq!(report["version"], 1);
    assert_eq!(report["answers"][0]["ids"], expected["ids"]);
    assert_eq!(report["answers"][0]["prompt_ids"], expected["prompt_ids"]);
    assert_eq!(report["answers"][0]["text"], expected["text"]);
    assert_eq!(report["answers"][1]["ids"], golden("answers.json")[1]["ids"]);
    let mut shape = report;
    for answer in shape["answers"].as_array_mut().unwrap() {
        for name in ["log_probs", "ids", "prompt_ids", "text"] {
            answer[name] = json!("…");
        }
    }
    for number in shape["measured"].as_object_mut().unwrap().values_mut() {
        assert!(number.is_number());
        *number = json!("…");
    }
    insta::assert_snapshot!("generate_json", serde_json::to_string_pretty(&shape).unwrap());
    let piped = with_input(&world, &["generate", "--model", "model", "--prompt", "-", "--max-tokens", "40"], prompt);
    assert_eq!(piped.stdout, words.stdout);
}

#[test]
fn the_same_seed_gives_the_same_words_and_another_others() {
    let world = world();
    let run = |seed: &str| {
        let args = ["generate", "--model", "model", "--chat", "--system", "Sois bref", "--prompt", "ça va ?"];
        let more = ["--max-tokens", "20", "--temperature", "1.5", "--top-k", "50", "--seed", seed, "--json"];
        let report = world.json(&[&args[..], &more[..]].concat());
        report["answers"][0]["ids"].clone()
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn mistakes_are_told() {
    let world = world();
    let long = "x".repeat(300);
    for (name, args) in [
        ("no_prompt", vec!["generate", "--model", "model"]),
        ("no_model", vec!["generate", "--model", "nowhere", "--prompt", "a"]),
        ("no_node", vec!["generate", "--prompt", "a"]),
        ("too_long", vec!["generate", "--model", "model", "--prompt", &long]),
        ("empty", vec!["generate", "--model", "model", "--prompt", ""]),
        ("range", vec!["generate", "--model", "model", "--prompt", "a", "--top-p", "1.5"]),
        ("no_file", vec!["generate", "--model", "model", "--prompt", "@nothing.txt"]),
    ] {
        let ran = world.run(&args);
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        insta::assert_snapshot!(format!("generate_{name}"), world.tidy(&ran.stderr));
    }
    world.write("model/tokenizer_config.json", r#"{"eos_token": "<|im_end|>"}"#);
    for args in [vec!["chat", "--model", "model"], vec!["generate", "--model", "model", "--chat", "--prompt", "a"]] {
        let ran = with_input(&world, &args, "a\n");
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("no chat template"), "{}", ran.stderr);
    }
}

#[test]
fn a_node_is_named_and_must_be_up_to_date() {
    let world = World::new();
    let args = ["generate", "base", "--prompt", "The", "--max-tokens", "5", "--json"];
    let stale = world.run(&args);
    assert_eq!(stale.code, 2);
    assert!(
        stale.stderr.contains("`base` is not up to date") && stale.stderr.contains("luthflow run"),
        "{}",
        stale.stderr
    );
    world.run_ok(&["base"]);
    let report = world.json(&args);
    assert_eq!(report["answers"][0]["generated_tokens"], report["answers"][0]["ids"].as_array().unwrap().len());
    let ran = world.run(&["generate", "text_en", "--prompt", "The"]);
    assert!(ran.stderr.contains("gives no model"), "{}", ran.stderr);
    let chat = with_input(&world, &["chat", "base", "--max-tokens", "4"], "Bonjour\n/quit\nnever\n");
    assert_eq!(chat.code, 0, "{}", chat.stderr);
}

#[test]
fn a_chat_goes_on_until_it_is_ended() {
    let world = world();
    let args = ["chat", "--model", "model", "--max-tokens", "6", "--temperature", "0", "--system", "s"];
    let long = "y".repeat(400);
    let input = format!("Bonjour\n\nBonjour\n/reset\nBonjour\n/thinking off\n/nothing\n{long}\n//a\n");
    let ran = with_input(&world, &args, &input);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let first = with_input(&world, &args, "Bonjour\n").stdout;
    assert!(ran.stdout.starts_with(&first));
    let once = ran.stdout[first.len()..].find(&first).expect("after /reset the same is said");
    assert!(once > 0 || !first.trim().is_empty());
    for told in ["begins anew", "there is no command /nothing", "the model reads 256"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}

/// Ctrl-C ends an answer, and at the prompt the program.
#[cfg(unix)]
#[test]
fn an_answer_is_interrupted_and_the_chat_goes_on() {
    let world = world();
    tiny(&world.path("model"), &json!({"max_position_embeddings": 200_000}));
    let mut command =
        world.command(&["chat", "--model", "model", "--max-tokens", "150000", "--stop", "never", "--temperature", "0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    input.write_all(b"Bonjour\n").unwrap();
    let mut first = [0; 1];
    output.read_exact(&mut first).unwrap();
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    input.write_all(b"/quit\n").unwrap();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(rest.len() < 140_000, "it was stopped");
}
