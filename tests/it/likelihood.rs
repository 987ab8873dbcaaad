//! How likely a model finds given answers, against transformers; and prompts that share their beginnings.

use luthflow::data::TemplateSettings;
use luthflow::generate::{
    Answer, Continuation, Generator, Likelihood, Listener, Options, Sampling, Scoring, Silent, Stopped,
};
use luthflow::model::{CausalLm, Packed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::generate::{greedy, tiny};
use crate::op::repository;

/// What comes of requests, and how much was read for it.
#[derive(Default)]
struct Heard {
    found: Vec<Option<Likelihood>>,
    read: usize,
}

impl Scoring for Heard {
    fn scored(&mut self, index: usize, likelihood: Likelihood) {
        self.found.resize(self.found.len().max(index + 1), None);
        self.found[index] = Some(likelihood);
    }

    fn went_on(&mut self, read: usize) {
        self.read = read;
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn likelihoods(generator: &Generator, requests: &[Continuation]) -> (Vec<Likelihood>, usize) {
    let mut heard = Heard::default();
    generator.likelihoods(requests, &mut heard).unwrap();
    (heard.found.into_iter().map(Option::unwrap).collect(), heard.read)
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// SmolLM2-135M-Instruct, from its GGUF file: a text cut into context and continuation anywhere, both languages at once.
#[test]
fn likelihoods_of_a_real_model_are_those_of_transformers() {
    let Some(folder) = crate::real::model() else { return };
    let generator = Generator::load(folder, &TemplateSettings::default()).unwrap();
    let bytes = std::fs::read(repository().join("tests/fixtures/smollm2/reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&bytes).unwrap();
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for language in ["fr", "en"] {
        let text = ids(&reference["res"][language]["ids"]);
        let theirs: Vec<f32> = serde_json::from_value(reference["res"][language]["lp_full"].clone()).unwrap();
        let unknown = text.len() - theirs.len();
        for cut in [unknown, text.len() / 3, text.len() / 2, text.len() - 1] {
            let cut = cut.max(1);
            requests.push(Continuation { context: text[..cut].to_vec(), continuation: text[cut..].to_vec() });
            expected.push(theirs[cut - unknown..].to_vec());
        }
    }
    let (found, read) = likelihoods(&generator, &requests);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.log_probs.len(), expected.len());
        let worst = found.log_probs.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{worst}");
    }
    // Each text is read once, however often it is cut.
    let lengths = [0, 4].map(|first| requests[first].context.len() + requests[first].continuation.len());
    assert!(read <= lengths.iter().sum::<usize>() - 2, "{read} of {lengths:?}");
}

/// As an evaluation asks: questions with examples before them, four endings each.
#[test]
fn choices_of_a_real_model_are_what_its_training_engine_says() {
    let Some(folder) = crate::real::model() else { return };
    let (generator, whole) =
        (Generator::load(folder, &TemplateSettings::default()).unwrap(), CausalLm::load(folder).unwrap());
    let encode = |text: &str| generator.tokenizer().encode(text).unwrap();
    let mut requests = Vec::new();
    for question in ["Quelle est la capitale de la France ?", "What do cows drink?"] {
        let context =
            encode(&format!("Question: Who wrote Hamlet?\nAnswer: Shakespeare\n\nQuestion: {question}\nAnswer:"));
        for choice in [" Paris", " Paris, of course", " water", " milk and water", " A"] {
            requests.push(Continuation { context: context.clone(), continuation: encode(choice) });
        }
    }
    let (found, _) = likelihoods(&generator, &requests);
    for (request, found) in requests.iter().zip(&found) {
        let mut packed = Packed::default();
        packed.push(&[&request.context[..], &request.continuation].concat());
        let expected = whole.log_probs(&packed).unwrap().split_off(request.context.len());
        let worst = found.log_probs.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4 && found.log_probs.len() == expected.len(), "{worst}");
        assert_eq!(found.log_probs, likelihoods(&generator, std::slice::from_ref(request)).0[0].log_probs);
    }
    assert!(found[0].log_probs[0] > found[2].log_probs[0] && found[7].log_probs[0] > found[5].log_probs[0]);
}

/// Counts what is read.
#[derive(Default)]
struct Counter {
    read: usize,
    patience: Option<usize>,
}

impl Listener for Counter {
    fn text(&mut self, _: usize, _: &str) {}
    fn finished(&mut self, _: usize, _: &Answer) {}

    fn went_on(&mut self, read: usize, _: usize) {
        self.read = read;
    }

    fn cancelled(&self) -> bool {
        self.patience.is_some_and(|patience| self.read >= patience)
    }
}

fn long_generator() -> (TempDir, Generator) {
    let dir = TempDir::new().unwrap();
    tiny(dir.path(), &json!({"max_position_embeddings": 4096}));
    let generator = Generator::load(dir.path(), &TemplateSettings::default()).unwrap();
    (dir, generator)
}

#[test]
fn what_prompts_share_is_read_once_and_no_answer_is_another() {
    let (_dir, generator) = long_generator();
    let shared = [("Traduis en anglais. ".repeat(35), 5), ("Résume le texte. ".repeat(9), 4)];
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    for number in 0..5 {
        // Two kinds take turns, the second with a passage that is shared by pairs, and some have nothing in common.
        for (text, most) in &shared {
            if number < *most {
                let passage = format!("Passage {} : {}", number / 2, "bla bla ".repeat(10));
                prompts.push(generator.text_prompt(&format!("{text}{passage}{number}")).unwrap());
            }
        }
        prompts.push(generator.text_prompt(&format!("{number} autre chose")).unwrap());
    }
    // The same prompt again, as for several answers to it.
    let repeated = prompts[0].clone();
    prompts.extend([repeated.clone(), repeated]);
    let sampling = Sampling { temperature: 1.0, top_p: 0.95, ..Sampling::greedy() };
    let streams: Vec<u64> = (0..prompts.len() as u64).collect();
    let alone: Vec<Answer> = prompts
        .iter()
        .zip(&streams)
        .map(|(prompt, stream)| {
            let options = Options { sampling, seed: 3, ..greedy(6) };
            generator.run_with(std::slice::from_ref(prompt), &[*stream], &options, &mut Silent).unwrap().remove(0)
        })
        .collect();
    let whole: usize = prompts.iter().map(Vec::len).sum();
    for batch in [1, 3, 16] {
        let mut counter = Counter::default();
        let options = Options { sampling, seed: 3, batch, ..greedy(6) };
        let answers = generator.run_with(&prompts, &streams, &options, &mut counter).unwrap();
        assert_eq!(answers, alone, "in batches of {batch}");
        // Answers are read too, but for their last tokens.
        let written: usize = alone.iter().map(|answer| answer.tokens.len() - 1).sum();
        let read = counter.read - written;
        let fewest = prompts[0].len() + prompts[1].len();
        assert!((fewest..whole / 3).contains(&read), "{read} of {whole}");
    }
}

#[test]
fn who_cancels_need_not_wait_for_what_is_shared() {
    let (_dir, generator) = long_generator();
    let prompt = generator.text_prompt(&"longue histoire ".repeat(150)).unwrap();
    let prompts = [prompt.clone(), prompt];
    let mut counter = Counter { patience: Some(1), ..Counter::default() };
    let answers = generator.run(&prompts, &greedy(5), &mut counter).unwrap();
    // A piece of the stem, and a piece of each that was begun.
    assert!(counter.read <= 3 * 512, "{}", counter.read);
    assert!(answers.iter().all(|answer| answer.stopped == Stopped::Cancelled && answer.tokens.is_empty()));
    // Where no answer is wanted, nothing is read.
    let mut counter = Counter::default();
    generator.run(&prompts, &greedy(0), &mut counter).unwrap();
    assert_eq!(counter.read, 0);
}
