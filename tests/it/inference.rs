//! Continuing texts: what is kept for the tokens before gives the numbers that computing everything again would give, bit
//! for bit whatever is fed together.

use std::path::{Path, PathBuf};

use luthflow::model::{Asking, CausalLm, LanguageModel, LayerKind, Packed, Session};
use luthflow::tensor::{Declared, Dtype, TensorWriter, model_tensors};
use serde_json::Value;
use tempfile::TempDir;

/// Every tiny model there is.
fn folders() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut folders = vec![fixtures.join("qwen3_tiny/tied"), fixtures.join("qwen3_tiny/untied")];
    for entry in std::fs::read_dir(fixtures.join("models")).into_iter().flatten() {
        folders.push(entry.unwrap().path());
    }
    folders.retain(|folder| folder.join("config.json").is_file());
    folders.sort();
    folders
}

fn load(folder: &Path) -> LanguageModel {
    LanguageModel::load(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// A text that no model was trained on, as long as it may be but at most `most` tokens.
fn text(model: &LanguageModel, most: usize, seed: usize) -> Vec<u32> {
    let (length, vocabulary) = (most.min(model.config().max_position_embeddings), model.config().vocab_size);
    (0..length).map(|i| ((i * i * 31 + i * 17 + seed * 101) % vocabulary) as u32).collect()
}

fn feed_one(session: &mut Session<'_>, tokens: &[u32]) -> Vec<f32> {
    let id = session.start();
    session.feed(&[(id, tokens)]).unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn likeliest(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
    let far = found.iter().zip(expected).fold(0f32, |far, (a, b)| far.max((a - b).abs()));
    assert!(far <= 1e-5 * size, "{what}: {far} off at a size of {size}");
}

#[test]
fn every_family_gives_the_logits_of_the_training_engine() {
    for folder in folders() {
        let (model, whole) = (load(&folder), CausalLm::load(&folder).unwrap());
        let tokens = text(&model, 60, 1);
        let all = whole.logits(&Packed { ids: tokens.clone(), lengths: vec![tokens.len()] }).unwrap();
        let mut session = model.session();
        let id = session.start();
        for (token, expected) in tokens.iter().zip(all.chunks_exact(model.config().vocab_size)) {
            let found = session.feed(&[(id, &[*token])]).unwrap();
            assert_close(&found, expected, &folder.display().to_string());
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    let mut checked = 0;
    for folder in folders() {
        let Ok(golden) = std::fs::read(folder.join("greedy.json")) else { continue };
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let lists = |key: &str| serde_json::from_value::<Vec<Vec<u32>>>(golden[key].clone()).unwrap();
        let (prompts, answers) = (lists("prompts"), lists("greedy"));
        let model = load(&folder);
        // All prompts at once, so that texts of different lengths go on side by side.
        let mut session = model.session();
        let ids: Vec<_> = prompts.iter().map(|_| session.start()).collect();
        let entries: Vec<_> = ids.iter().copied().zip(prompts.iter().map(Vec::as_slice)).collect();
        let mut logits = session.feed(&entries).unwrap();
        for step in 0..answers[0].len() {
            let next: Vec<u32> = logits.chunks_exact(model.config().vocab_size).map(likeliest).collect();
            let expected: Vec<u32> = answers.iter().map(|answer| answer[step]).collect();
            assert_eq!(next, expected, "{} at step {step}", folder.display());
            let entries: Vec<_> = ids.iter().copied().zip(next.chunks_exact(1)).collect();
            logits = session.feed(&entries).unwrap();
            checked += next.len();
        }
    }
    eprintln!("{checked} greedy tokens");
}

/// A long prompt goes through the model in steps, most of which end no text.
#[test]
fn a_text_longer_than_a_step_gives_the_bits_of_its_pieces() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for name in ["qwen3-tied", "lfm2-hybrid", "gemma3-window"] {
        let folder = TempDir::new().unwrap();
        std::fs::copy(models.join(name).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
        let config = std::fs::read(models.join(name).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["max_position_embeddings"] = 2048.into();
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let model = load(folder.path());
        let (long, short) = (text(&model, 1100, 3), text(&model, 40, 4));
        let mut session = model.session();
        let (first, second, third) = (session.start(), session.start(), session.start());
        let together = session.feed(&[(first, &long), (second, &short)]).unwrap();
        let mut pieces = Vec::new();
        for piece in long.chunks(100) {
            pieces = session.feed(&[(third, piece)]).unwrap();
        }
        assert_eq!(bits(&together[..pieces.len()]), bits(&pieces), "{name}");
        assert_eq!(bits(&together[pieces.len()..]), bits(&feed_one(&mut session, &short)), "{name}");
    }
}

#[test]
fn a_text_in_pieces_or_in_company_or_on_more_threads_gives_the_same_bits() {
    for folder in folders() {
        let model = load(&folder);
        let tokens = text(&model, 64, 2);
        let mut session = model.session();
        let whole = bits(&feed_one(&mut session, &tokens));
        for piece in [1, 3, 7, 32, 50] {
            let id = session.start();
            let mut logits = Vec::new();
            for piece in tokens.chunks(piece) {
                logits = session.feed(&[(id, piece)]).unwrap();
            }
            assert_eq!(bits(&logits), whole, "{} in pieces of {piece}", folder.display());
        }
        let (half, others) = (tokens.len() / 2, (0..7).map(|i| text(&model, 5 + 6 * i, i)).collect::<Vec<_>>());
        let ids: Vec<_> = (0..8).map(|_| session.start()).collect();
        let mut entries: Vec<_> = ids.iter().copied().zip(others.iter().map(Vec::as_slice)).collect();
        entries.insert(3, (ids[7], &tokens[..half]));
        session.feed(&entries).unwrap();
        session.end(ids[5]);
        let mut entries: Vec<(_, &[u32])> = ids[..5].iter().map(|id| (*id, &tokens[..1])).collect();
        entries.push((ids[7], &tokens[half..]));
        let logits = session.feed(&entries).unwrap();
        let mine = &logits[5 * model.config().vocab_size..];
        assert_eq!(bits(mine), whole, "{} among others", folder.display());
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let logits = pool.install(|| feed_one(&mut model.session(), &tokens));
            assert_eq!(bits(&logits), whole, "{} on {threads} threads", folder.display());
        }
    }
}

/// Copies a model with its weights stored in another format.
fn stored_as(folder: &Path, dtype: Dtype) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("config.json"), copy.path().join("config.json")).unwrap();
    let tensors = model_tensors(folder).unwrap();
    let declare =
        |name: &str| Declared { name: name.to_owned(), dtype, shape: tensors.get(name).unwrap().shape.to_vec() };
    let declared: Vec<Declared> = tensors.names().map(declare).collect();
    let mut writer = TensorWriter::create(&copy.path().join("model.safetensors"), &declared).unwrap();
    for name in tensors.names() {
        writer.write_f32(name, &tensors.get(name).unwrap().to_f32()).unwrap();
    }
    writer.finish().unwrap();
    copy
}

#[test]
fn weights_are_used_in_the_format_they_are_stored_in() {
    for folder in folders() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let copy = stored_as(&folder, dtype);
            let (model, whole) = (load(copy.path()), CausalLm::load(copy.path()).unwrap());
            for length in [1, 2, 5, 8, 13, 40] {
                let tokens = text(&model, length, 3);
                let logits = feed_one(&mut model.session(), &tokens);
                let all = whole.logits(&Packed { ids: tokens.clone(), lengths: vec![tokens.len()] }).unwrap();
                let last = &all[(tokens.len() - 1) * model.config().vocab_size..];
                assert_close(&logits, last, &format!("{} as {dtype}, {length} tokens", folder.display()));
            }
        }
    }
}

#[test]
fn what_cannot_be_fed_is_refused_and_changes_nothing() {
    for folder in folders() {
        let model = load(&folder);
        let (most, vocabulary) = (model.config().max_position_embeddings, model.config().vocab_size as u32);
        let mut session = model.session();
        let (id, ended, other) = (session.start(), session.start(), session.start());
        session.end(ended);
        session.feed(&[(id, &[1, 2])]).unwrap();
        let long = vec![1; most - 1];
        for (entries, word) in [
            (vec![(other, &[1][..]), (ended, &[1])], "never begun, or ended"),
            (vec![(id, &[1]), (other, &[1]), (id, &[1])], "twice"),
            (vec![(other, &[1]), (id, &[])], "no tokens"),
            (vec![(other, &[1]), (id, &[vocabulary])], "not among"),
            (vec![(other, &[1]), (id, &long)], "longer than"),
        ] {
            let error = session.feed(&entries).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let after = session.feed(&[(id, &[3])]).unwrap();
        assert_eq!(bits(&after), bits(&feed_one(&mut model.session(), &[1, 2, 3])));
        assert_eq!(bits(&session.feed(&[(other, &[3])]).unwrap()), bits(&feed_one(&mut model.session(), &[3])));
        assert!(session.feed(&[]).unwrap().is_empty());
    }
}

/// More tokens than go through a model in one step, and windows that have long moved on.
#[test]
fn a_text_of_many_steps_and_pages_goes_on_as_if_it_were_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny/tied");
    for window in [None, Some(40)] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("model.safetensors"), copy.path().join("model.safetensors")).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        config["max_position_embeddings"] = 2000.into();
        if let Some(window) = window {
            config["use_sliding_window"] = true.into();
            config["sliding_window"] = window.into();
            config["max_window_layers"] = 0.into();
            config.as_object_mut().unwrap().remove("layer_types");
        }
        std::fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
        let (model, whole) = (load(copy.path()), CausalLm::load(copy.path()).unwrap());
        let windowed = |kind: &LayerKind| matches!(kind, LayerKind::Attention { window: Some(_), .. });
        assert_eq!(model.config().layers.iter().all(windowed), window.is_some());
        let tokens = text(&model, 1300, 4);
        let mut session = model.session();
        let at_once = feed_one(&mut session, &tokens);
        let all = whole.logits(&Packed { ids: tokens.clone(), lengths: vec![tokens.len()] }).unwrap();
        assert_close(&at_once, &all[(tokens.len() - 1) * model.config().vocab_size..], "many steps");
        let id = session.start();
        let mut logits = Vec::new();
        for piece in tokens.chunks(37) {
            logits = session.feed(&[(id, piece)]).unwrap();
        }
        assert_eq!(bits(&logits), bits(&at_once));
    }
}

/// A text that branches off goes on as if it had been read from its beginning, and the other one as if it were alone.
#[test]
fn forks_go_on_by_themselves() {
    for folder in folders() {
        for (model, exact) in [(load(&folder), true), (LanguageModel::load_composed(&folder).unwrap(), false)] {
            let tokens = text(&model, 60, 5);
            let mut session = model.session();
            for cut in [1, 8, 31, 32, 33, 50] {
                let (first, second) = (session.start(), text(&model, 60, 6));
                session.feed(&[(first, &tokens[..cut])]).unwrap();
                let forks: Vec<_> = (0..3).map(|_| session.fork(first).unwrap()).collect();
                let grandchild = session.fork(forks[2]).unwrap();
                session.end(forks[2]);
                session.feed(&[(forks[0], &second[..4]), (first, &tokens[cut..cut + 3])]).unwrap();
                let both = session
                    .feed(&[
                        (grandchild, &tokens[cut..]),
                        (forks[1], &second[..6]),
                        (first, &tokens[cut + 3..]),
                        (forks[0], &second[4..6]),
                    ])
                    .unwrap();
                session.end(first);
                let mut other = tokens[..cut].to_vec();
                other.extend_from_slice(&second[..6]);
                let found: Vec<&[f32]> = both.chunks_exact(model.config().vocab_size).collect();
                for (found, expected) in found.iter().zip([&tokens, &other, &tokens, &other]) {
                    let alone = feed_one(&mut model.session(), expected);
                    assert_close(found, &alone, &format!("{} cut at {cut}", folder.display()));
                }
                if exact {
                    assert_eq!(bits(found[0]), bits(found[2]));
                    assert_eq!(bits(found[1]), bits(found[3]));
                    assert_eq!(bits(found[0]), bits(&feed_one(&mut model.session(), &tokens)));
                }
            }
            let gone = session.start();
            session.end(gone);
            assert!(session.fork(gone).unwrap_err().to_string().contains("never begun, or ended"));
        }
    }
}

/// What is asked about rows inside an entry is what the logits say.
#[test]
fn scores_are_what_the_logits_say() {
    for folder in folders() {
        for model in [load(&folder), LanguageModel::load_composed(&folder).unwrap()] {
            let tokens = text(&model, 50, 7);
            let mut session = model.session();
            let id = session.start();
            let asked: Vec<(usize, u32)> =
                [0, 3, 4, 17, 49].into_iter().flat_map(|row| [(row, 5), (row, 66), (row, 0)]).collect();
            let (short, one) = (session.start(), session.start());
            let entries = [
                Asking { text: short, tokens: &tokens[..3], asked: &[] },
                Asking { text: id, tokens: &tokens, asked: &asked },
                Asking { text: one, tokens: &tokens[..1], asked: &[(0, 9)] },
            ];
            let scored = session.score(&entries).unwrap();
            assert_eq!(scored.len(), asked.len() + 1);
            let mut step = model.session();
            let id = step.start();
            let logits: Vec<Vec<f32>> = tokens.iter().map(|token| step.feed(&[(id, &[*token])]).unwrap()).collect();
            for ((row, token), scored) in asked.iter().chain(&[(0, 9)]).zip(&scored) {
                let sum: f64 = logits[*row].iter().map(|logit| f64::from(*logit).exp()).sum();
                let expected = f64::from(logits[*row][*token as usize]) - sum.ln();
                let far = (f64::from(scored.log_prob) - expected).abs();
                assert!(far < 2e-5, "{}: {far} at {row}", folder.display());
                assert_eq!(scored.likeliest, likeliest(&logits[*row]) == *token);
            }
            // The texts are where they would be if they had been fed.
            let after = session.feed(&[(short, &[1])]).unwrap();
            let expected = feed_one(&mut model.session(), &[&tokens[..3], &[1]].concat());
            assert_close(&after, &expected, "after a score");
            for (asked, word) in [
                (vec![(1, 1), (0, 1)], "not in their order"),
                (vec![(0, 1), (3, 1)], "token 3 of 3"),
                (vec![(0, model.config().vocab_size as u32)], "not among"),
            ] {
                let entry = Asking { text: short, tokens: &tokens[..3], asked: &asked };
                assert!(session.score(&[entry]).unwrap_err().to_string().contains(word));
            }
        }
    }
}
