//! Likelihoods against those of the engine that trains, for every architecture; and the same bits however they are computed.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::model::{CausalLm, Packed};

/// One tiny model for every shape of every family.
fn folders() -> Vec<PathBuf> {
    let all = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")).unwrap();
    let mut folders: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 15);
    folders
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// What a test hears.
#[derive(Default)]
struct Heard {
    found: Vec<Option<Likelihood>>,
    expected: usize,
    read: usize,
    /// Stop after so many tokens.
    patience: Option<usize>,
}

impl Scoring for Heard {
    fn begins(&mut self, tokens: usize) {
        self.expected = tokens;
    }

    fn scored(&mut self, index: usize, likelihood: Likelihood) {
        self.found.resize(self.found.len().max(index + 1), None);
        assert!(self.found[index].replace(likelihood).is_none(), "request {index} is scored twice");
    }

    fn went_on(&mut self, read: usize) {
        assert!(read > self.read);
        self.read = read;
    }

    fn cancelled(&self) -> bool {
        self.patience.is_some_and(|patience| self.read >= patience)
    }
}

fn scored(model: &LanguageModel, requests: &[Continuation], limits: Limits) -> Vec<Likelihood> {
    let mut heard = Heard::default();
    score_all(model, requests, limits, &mut heard).unwrap();
    assert_eq!((heard.read, heard.found.len()), (heard.expected, requests.len()));
    heard.found.into_iter().map(Option::unwrap).collect()
}

fn bits(likelihood: &Likelihood) -> (Vec<u32>, bool, bool) {
    let Likelihood { log_probs, greedy, truncated } = likelihood;
    (log_probs.iter().map(|x| x.to_bits()).collect(), *greedy, *truncated)
}

/// Questions with choices: some share their beginnings, some choices begin others, one comes twice.
fn questions(count: u32, most: u32) -> Vec<Continuation> {
    let tokens =
        |count: u32, seed: u32| (0..count).map(|i| (i * i * 31 + i * 17 + seed * 29) % 67).collect::<Vec<u32>>();
    let mut requests = Vec::new();
    for question in 0..count {
        let mut context = tokens(1 + question % 3 * (most / 3), 1);
        context.extend(tokens(question * 7 % (most / 3), question / 2));
        for choice in 0..4 {
            let mut continuation = tokens(1 + question % 4, question);
            continuation.extend(tokens(choice, choice));
            requests.push(Continuation { context: context.clone(), continuation });
        }
    }
    requests
}

/// What the training engine says, and whether the likeliest tokens are far from the others.
fn expected(model: &CausalLm, request: &Continuation) -> (Vec<f32>, Option<bool>) {
    let Continuation { context, continuation } = request;
    let ids = [&context[..], continuation].concat();
    let packed = Packed { lengths: vec![ids.len()], ids };
    let log_probs = model.log_probs(&packed).unwrap()[context.len()..].to_vec();
    let logits = model.logits(&packed).unwrap();
    let rows = logits.chunks_exact(model.config().vocab_size).skip(context.len() - 1);
    let lead = rows.zip(continuation).map(|(row, token)| {
        let others = row.iter().enumerate().filter(|(other, _)| *other != *token as usize);
        row[*token as usize] - others.fold(f32::NEG_INFINITY, |most, (_, logit)| most.max(*logit))
    });
    let least = lead.fold(f32::INFINITY, f32::min);
    (log_probs, (least.abs() > 1e-4).then_some(least > 0.0))
}

fn assert_close(found: &[Likelihood], expected: &[(Vec<f32>, Option<bool>)], tolerance: f32, what: &str) {
    for (found, (log_probs, greedy)) in found.iter().zip(expected) {
        assert_eq!(found.log_probs.len(), log_probs.len(), "{what}");
        let far = found.log_probs.iter().zip(log_probs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far <= tolerance, "{what}: {far}");
        assert!(greedy.is_none_or(|greedy| greedy == found.greedy), "{what}");
    }
}

/// Continues contexts with the tokens that the model itself would say.
fn greedy(model: &LanguageModel, requests: &[Continuation]) -> Vec<Continuation> {
    let say = |request: &Continuation| {
        let mut session = model.session();
        let text = session.start();
        let mut logits = session.feed(&[(text, &request.context)]).unwrap();
        let mut continuation = Vec::new();
        for _ in 0..3 {
            let best = (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
            continuation.push(best as u32);
            logits = session.feed(&[(text, &[best as u32])]).unwrap();
        }
        Continuation { context: request.context.clone(), continuation }
    };
    requests.iter().step_by(4).map(say).collect()
}

#[test]
fn every_family_gives_the_likelihoods_of_the_training_engine() {
    for folder in folders() {
        let (model, whole) = (LanguageModel::load(&folder).unwrap(), CausalLm::load(&folder).unwrap());
        let composed = LanguageModel::load_composed(&folder).unwrap();
        let mut requests = questions(10, 45);
        let said = greedy(&model, &requests);
        let first = requests.len();
        requests.extend(said);
        let expected: Vec<_> = requests.iter().map(|request| expected(&whole, request)).collect();
        let name = folder.display().to_string();
        let found = scored(&model, &requests, LIMITS);
        assert!(found[first..].iter().all(|one| one.greedy) && found.iter().any(|one| !one.greedy), "{name}");
        assert_close(&found, &expected, 1e-5, &name);
        // Of sums in another order.
        assert_close(&scored(&composed, &requests, LIMITS), &expected, 2e-5, &name);
    }
}

#[test]
fn a_request_gets_the_same_bits_alone_and_in_any_company() {
    for folder in folders() {
        let model = LanguageModel::load(&folder).unwrap();
        let requests = questions(9, 45);
        let all: Vec<_> = scored(&model, &requests, LIMITS).iter().map(bits).collect();
        for (request, expected) in requests.iter().zip(&all) {
            assert_eq!(bits(&scored(&model, std::slice::from_ref(request), LIMITS)[0]), *expected);
        }
        for limits in [
            Limits { step: 1, texts: 1, kept: 0 },
            Limits { step: 7, texts: 3, kept: 0 },
            Limits { step: 40, texts: 64, kept: 100 },
            Limits { step: 5000, texts: 5000, kept: 50000 },
        ] {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| scored(&model, &requests, limits));
                assert!(found.iter().map(bits).eq(all.iter().cloned()), "{} {limits:?} {threads}", folder.display());
            }
        }
    }
}

/// More tokens than go through a model at once, and windows that have long moved on.
#[test]
fn long_contexts_are_shared_and_forked_in_the_middle_of_a_page() {
    for name in ["qwen3-tied", "lfm2-hybrid", "gemma3-window"] {
        let long = tempfile::tempdir().unwrap();
        let config = fs_err::read_to_string(folder(name).join("config.json")).unwrap();
        let longer = config.replace("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 2048");
        assert_ne!(config, longer);
        fs_err::write(long.path().join("config.json"), longer).unwrap();
        fs_err::copy(folder(name).join("model.safetensors"), long.path().join("model.safetensors")).unwrap();
        let (model, whole) = (LanguageModel::load(long.path()).unwrap(), CausalLm::load(long.path()).unwrap());
        let requests = questions(6, 1900);
        let found = scored(&model, &requests, LIMITS);
        for (request, found) in requests.iter().zip(&found) {
            assert_eq!(bits(found), bits(&scored(&model, std::slice::from_ref(request), LIMITS)[0]), "{name}");
        }
        let expected: Vec<_> = requests.iter().map(|request| expected(&whole, request)).collect();
        assert_close(&found, &expected, 1e-5, name);
        let composed = LanguageModel::load_composed(long.path()).unwrap();
        assert_close(&scored(&composed, &requests[16..], LIMITS), &expected[16..], 2e-5, name);
    }
}

#[test]
fn what_is_kept_stays_within_its_bounds() {
    let model = LanguageModel::load(&folder("llama-smol")).unwrap();
    // A tree that branches at every token.
    let requests: Vec<Continuation> = (0..512_u32)
        .map(|number| Continuation { context: vec![1], continuation: (0..9).map(|bit| number >> bit & 1).collect() })
        .collect();
    let texts = requests.iter().enumerate().map(|(index, request)| Text::new(index, request, 64)).collect();
    let tree = Tree::new(texts);
    let expected: Vec<_> = scored(&model, &requests, LIMITS).iter().map(bits).collect();
    let limits = Limits { step: 16, texts: 8, kept: 200 };
    let mut walk = Walk::new(&tree, model.session(), limits, requests.len());
    let (mut heard, mut most) = (Heard::default(), 0);
    while !walk.open.is_empty() {
        walk.step(&mut heard).unwrap();
        most = most.max(walk.kept());
    }
    assert!(heard.found.into_iter().map(|found| bits(&found.unwrap())).eq(expected));
    // What is kept beyond the bound is what one branch takes to its end.
    assert!(most <= limits.kept + 9 * (1 + PAGE), "{most}");
    assert!(walk.parents.is_empty() && walk.own.is_empty());
}

/// The arithmetic that all this is for.
#[test]
fn choices_of_one_token_cost_one_reading_of_the_question() {
    let model = LanguageModel::load(&folder("llama-smol")).unwrap();
    let read = |requests: &[Continuation]| {
        let mut heard = Heard::default();
        score_all(&model, requests, LIMITS, &mut heard).unwrap();
        heard.read
    };
    let context: Vec<u32> = (0..40).collect();
    let of = |continuation: &[u32]| Continuation { context: context.clone(), continuation: continuation.to_vec() };
    assert_eq!(read(&[5, 6, 7, 8].map(|token| of(&[token]))), 40);
    assert_eq!(read(&[of(&[1, 2, 3]), of(&[1, 4, 5]), of(&[6, 7, 8])]), 40 + 1 + 1 + 1 + 2);
    assert_eq!(read(&[of(&[1, 2]), of(&[1, 2]), of(&[1])]), 41);
}

#[test]
fn what_is_too_long_loses_its_beginning_or_is_refused() {
    let model = LanguageModel::load(&folder("llama-smol")).unwrap();
    let tokens = |count: u32| (0..count).map(|i| i * 5 % 67).collect::<Vec<u32>>();
    let of =
        |context: u32, continuation: u32| Continuation { context: tokens(context), continuation: tokens(continuation) };
    let found = scored(&model, &[of(63, 2), of(64, 2), of(90, 2), of(90, 64)], LIMITS);
    assert_eq!(found.iter().map(|one| one.truncated).collect::<Vec<_>>(), [false, true, true, true]);
    for (found, (context, continuation)) in found.iter().zip([(63, 2), (64, 2), (90, 2), (90, 64)]) {
        let mut cut = of(context, continuation);
        cut.context.drain(..(context + continuation).saturating_sub(65) as usize);
        let alone = scored(&model, &[cut], LIMITS).remove(0);
        assert_eq!((bits(found).0, found.greedy, alone.truncated), (bits(&alone).0, alone.greedy, false));
    }
    for (request, word) in [
        (of(3, 65), "65 tokens, and the model reads 64"),
        (of(0, 1), "context has no tokens"),
        (Continuation { context: vec![1], continuation: vec![67] }, "token 67 is not among the model's 67"),
    ] {
        let error = score_all(&model, &[of(1, 1), request], LIMITS, &mut Heard::default()).unwrap_err().to_string();
        assert!(error.starts_with("request 2: ") && error.contains(word), "{error}");
    }
    let nothing = scored(&model, &[of(3, 0)], LIMITS).remove(0);
    assert_eq!(nothing, Likelihood { log_probs: Vec::new(), greedy: true, truncated: false });
    assert!(scored(&model, &[], LIMITS).is_empty());
}

#[test]
fn who_cancels_gets_what_was_done() {
    let model = LanguageModel::load(&folder("llama-smol")).unwrap();
    let mut heard = Heard { patience: Some(60), ..Heard::default() };
    score_all(&model, &questions(9, 45), Limits { step: 20, ..LIMITS }, &mut heard).unwrap();
    let done = heard.found.iter().flatten().count();
    assert!((60..80).contains(&heard.read) && (1..36).contains(&done), "{done} after {}", heard.read);
}

/// Weights of which one is no number: whoever meets it is named.
#[test]
fn numbers_that_are_none_are_an_error() {
    let broken = tempfile::tempdir().unwrap();
    let from = folder("llama-smol");
    fs_err::copy(from.join("config.json"), broken.path().join("config.json")).unwrap();
    let mut bytes = fs_err::read(from.join("model.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(broken.path().join("model.safetensors"), bytes).unwrap();
    let request = Continuation { context: vec![1, 2], continuation: vec![3, 4] };
    for model in [LanguageModel::load(broken.path()), LanguageModel::load_composed(broken.path())] {
        let error = score_all(&model.unwrap(), std::slice::from_ref(&request), LIMITS, &mut Heard::default());
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("request 1: the model gives no usable probabilities after 2"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Trees of all shapes, through a hybrid of convolutions and attention and through a window.
    #[test]
    fn sharing_changes_no_bit(
        requests in prop::collection::vec(
            (prop::collection::vec(0..3u32, 1..7), prop::collection::vec(0..3u32, 0..6)), 1..14),
        (step, texts, kept) in (1..20usize, 1..6usize, 0..200usize),
        hybrid: bool,
    ) {
        let model = LanguageModel::load(&folder(if hybrid { "lfm2-hybrid" } else { "gemma3-window" })).unwrap();
        let requests: Vec<Continuation> =
            requests.into_iter().map(|(context, continuation)| Continuation { context, continuation }).collect();
        let found = scored(&model, &requests, Limits { step, texts, kept });
        for (request, found) in requests.iter().zip(&found) {
            prop_assert_eq!(bits(&scored(&model, std::slice::from_ref(request), LIMITS)[0]), bits(found));
        }
    }
}
