//! Mixtures of experts against those of MergeKit 0.1.5 (`tests/fixtures/moe`, made by `make.py` there).

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::path::{Path, PathBuf};

use luthflow::ops::OpError;
use luthflow::spec::params::{Kind, Op};
use luthflow::tensor::{ModelTensors, TensorFile, model_tensors};
use serde_json::{Value, json};

use crate::op::{self, Ran};
use crate::world::World;

fn fixtures() -> PathBuf {
    op::repository().join("tests/fixtures/moe")
}

/// Returns the configuration of a case, with the seed that it was made with.
fn config(case: &str) -> Value {
    let text = fs_err::read_to_string(fixtures().join(format!("{case}.yaml"))).unwrap();
    let (_, document) = luthflow::spec::merge_file::read(&text).unwrap();
    let mut fields = document.value;
    fields["seed"] = 7.into();
    fields
}

fn moe_in(root: &Path, fields: Value) -> Result<Ran, OpError> {
    let op = Op::from_fields(Kind::Moe, &fields).unwrap();
    let inputs: Vec<(String, String, PathBuf)> =
        op.inputs().into_iter().map(|input| (input.slot, input.from.0.clone(), root.join(&input.from.0))).collect();
    let inputs: Vec<_> =
        inputs.iter().map(|(slot, name, path)| (slot.as_str(), name.as_str(), path.as_path())).collect();
    op::run(Kind::Moe, fields, &op::inputs(&inputs))
}

fn moe(fields: Value) -> Result<Ran, OpError> {
    moe_in(&fixtures(), fields)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

/// Cases in which nothing depends on sums of torch's.
const EXACT: [&str; 9] = [
    "mixtral-random",
    "mixtral-noise",
    "mixtral-uniform",
    "mixtral-f32",
    "deepseek-random",
    "deepseek-plain",
    "qwen2-random",
    "qwen3-random",
    "qwen3-tied",
];

#[test]
fn mixtures_are_those_of_mergekit_to_the_last_byte_of_the_file() {
    let mut wrong = Vec::new();
    for case in EXACT {
        let ran = moe(config(case)).unwrap_or_else(|error| panic!("{case}: {:?}", error.chain()));
        let ours = fs_err::read(ran.path().join("model.safetensors")).unwrap();
        if ours != fs_err::read(fixtures().join(format!("{case}.safetensors"))).unwrap() {
            let theirs = TensorFile::open(&fixtures().join(format!("{case}.safetensors"))).unwrap();
            let ours = model_tensors(ran.path()).unwrap();
            let same = |name: &&str| ours.get(name).is_some_and(|view| view.bytes == theirs.get(name).unwrap().bytes);
            let differ: Vec<&str> = theirs.names().filter(|name| !same(name)).collect();
            let more: Vec<&str> = ours.names().filter(|name| theirs.get(name).is_none()).collect();
            wrong.push(format!("{case}: {differ:?} {more:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What transformers writes anew where the base leaves it to a default, and what tells its version.
const DEFAULTS: [&str; 14] = [
    "transformers_version",
    "layer_types",
    "max_window_layers",
    "output_hidden_states",
    "output_attentions",
    "return_dict",
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "id2label",
    "label2id",
    "problem_type",
    "_name_or_path",
    "attention_bias",
    "mlp_bias",
];

#[test]
fn configurations_say_what_those_of_mergekit_say() {
    for case in EXACT {
        let ran = moe(config(case)).unwrap();
        let ours = read_json(&ran.path().join("config.json"));
        for (key, value) in read_json(&fixtures().join(format!("{case}.json"))).as_object().unwrap() {
            match ours.get(key) {
                Some(ours) if key != "transformers_version" => assert_eq!(ours, value, "{case}: {key}"),
                Some(_) => {}
                None => assert!(DEFAULTS.contains(&key.as_str()), "{case}: {key}"),
            }
        }
        assert!(ran.path().join("tokenizer.json").is_file());
        assert!(ran.metric("degenerate_layers").fract().abs() < f64::EPSILON);
    }
    let qwen3 = read_json(&moe(config("qwen3-random")).unwrap().path().join("config.json"));
    assert_eq!((&qwen3["num_experts"], &qwen3["num_local_experts"]), (&json!(2), &json!(2)), "for old and new loaders");
}

/// Returns the routers of a case, in the order of the golden file: layer, expert, place.
fn routers_in(tensors: &ModelTensors, shared: bool) -> Vec<f32> {
    let mut all = Vec::new();
    for layer in 0..2 {
        all.extend(tensors.get(&format!("model.layers.{layer}.mlp.gate.weight")).unwrap().to_f32());
        if shared {
            all.extend(tensors.get(&format!("model.layers.{layer}.mlp.shared_expert_gate.weight")).unwrap().to_f32());
        }
    }
    all
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// MergeKit runs the base in bf16, we in f32. The routers that it computes when it is made to run in f32 are ours to five
/// places.
fn hidden_case(case: &str) {
    let ran = moe(config(case)).unwrap_or_else(|error| panic!("{case}: {:?}", error.chain()));
    let shared = case.starts_with("qwen2");
    let ours = routers_in(&model_tensors(ran.path()).unwrap(), shared);
    let single = TensorFile::open(&fixtures().join("gates.safetensors")).unwrap();
    let apart = furthest(&ours, &single.get(case).unwrap().to_f32());
    assert!(apart < 2e-5, "{case}: {apart} from f32");
    let dir = tempfile::tempdir().unwrap();
    fs_err::copy(fixtures().join(format!("{case}.safetensors")), dir.path().join("model.safetensors")).unwrap();
    let (ours, theirs) = (model_tensors(ran.path()).unwrap(), model_tensors(dir.path()).unwrap());
    assert!(ours.names().eq(theirs.names()), "{case}");
    for name in theirs.names() {
        let (a, b) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
        assert_eq!((a.dtype, a.shape), (b.dtype, b.shape), "{case} {name}");
        if !name.contains("gate.weight") {
            assert!(a.bytes == b.bytes, "{case} {name}");
        }
    }
    // As far from its bf16 as its own f32 is.
    let (in_bf16, single) = (routers_in(&theirs, shared), single.get(case).unwrap().to_f32());
    let (apart, own) = (furthest(&routers_in(&ours, shared), &in_bf16), furthest(&single, &in_bf16));
    assert!(apart <= own + 2e-5, "{case}: {apart} from bf16, MergeKit itself {own}");
}

#[test]
fn routers_from_hidden_states() {
    for case in ["qwen3-hidden", "qwen3-avg", "mixtral-hidden", "qwen2-hidden"] {
        hidden_case(case);
    }
}

/// The sum of a few embeddings, divided by its length, which torch adds up in an order of its own: in f32 a place or two
/// differ, in bf16 none.
#[test]
fn routers_from_embeddings_are_those_of_mergekit() {
    let ran = moe(config("mixtral-cheap")).unwrap();
    let theirs = TensorFile::open(&fixtures().join("mixtral-cheap.safetensors")).unwrap();
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.mlp.gate.weight");
        let ours = model_tensors(ran.path()).unwrap().get(&name).unwrap().to_f32();
        for (a, b) in ours.iter().zip(theirs.get(&name).unwrap().to_f32()) {
            assert!((a - b).abs() <= 2.0 * f32::EPSILON * b.abs(), "{name}: {a} {b}");
        }
    }
    let ran = moe(config("qwen2-llama")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs_err::copy(fixtures().join("qwen2-llama.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let (ours, theirs) = (model_tensors(ran.path()).unwrap(), model_tensors(dir.path()).unwrap());
    assert!(ours.names().eq(theirs.names()));
    for name in theirs.names() {
        assert!(ours.get(name).unwrap().bytes == theirs.get(name).unwrap().bytes, "{name}");
    }
}

/// Both layouts hold the same numbers: an expert's rows of the packed tensors are its own tensors.
#[test]
fn experts_can_be_stored_one_by_one_or_together() {
    for (case, prefix, parts) in [
        ("mixtral-noise", "block_sparse_moe", ["w1", "w3", "w2"]),
        ("qwen3-random", "mlp", ["gate_proj", "up_proj", "down_proj"]),
        ("qwen2-random", "mlp", ["gate_proj", "up_proj", "down_proj"]),
    ] {
        let stored = |layout: &str| {
            let mut fields = config(case);
            fields["layout"] = layout.into();
            let ran = moe(fields).unwrap();
            let tensors = model_tensors(ran.path()).unwrap();
            (ran, tensors)
        };
        let ((_a, packed), (_b, separate)) = (stored("packed"), stored("separate"));
        let bytes = |tensors: &ModelTensors, name: &str| {
            tensors.get(name).unwrap_or_else(|| panic!("{case} {name}")).bytes.to_vec()
        };
        // Noise is drawn in an order of its own for each layout of Qwen2's, and all of it for the second expert.
        let experts = if case == "qwen2-random" { 0..1 } else { 0..2 };
        for layer in 0..2 {
            let block = format!("model.layers.{layer}.mlp.experts.");
            let both = bytes(&packed, &format!("{block}gate_up_proj"));
            let down = bytes(&packed, &format!("{block}down_proj"));
            for expert in experts.clone() {
                let own = |part: &str| {
                    bytes(&separate, &format!("model.layers.{layer}.{prefix}.experts.{expert}.{part}.weight"))
                };
                let half = own(parts[0]).len();
                assert!(both[2 * expert * half..][..half] == own(parts[0])[..]);
                assert!(both[(2 * expert + 1) * half..][..half] == own(parts[1])[..]);
                assert!(down[expert * half..][..half] == own(parts[2])[..]);
            }
            let router = format!("model.layers.{layer}.{prefix}.gate.weight");
            assert!(bytes(&separate, &router) == bytes(&packed, &format!("model.layers.{layer}.mlp.gate.weight")));
        }
    }
}

#[test]
fn a_seed_decides_and_threads_and_shards_do_not() {
    let inputs_of = |fields: &Value| {
        let op = Op::from_fields(Kind::Moe, fields).unwrap();
        let all: Vec<_> =
            op.inputs().iter().map(|input| (input.slot.clone(), fixtures().join(&input.from.0))).collect();
        let all: Vec<_> = all.iter().map(|(slot, path)| (slot.as_str(), "model", path.as_path())).collect();
        op::inputs(&all)
    };
    let fields = config("mixtral-noise");
    let weights = |threads, fields: &Value| {
        let ran = op::run_with(threads, Kind::Moe, fields.clone(), &inputs_of(fields)).unwrap();
        fs_err::read(ran.path().join("model.safetensors")).unwrap()
    };
    assert!(weights(1, &fields) == weights(4, &fields));
    let mut other = fields.clone();
    other["seed"] = 8.into();
    assert!(weights(1, &fields) != weights(1, &other));
    let mut sharded = fields;
    sharded["shard_size"] = 5000.into();
    let ran = moe(sharded).unwrap();
    let theirs = TensorFile::open(&fixtures().join("mixtral-noise.safetensors")).unwrap();
    let ours = model_tensors(ran.path()).unwrap();
    assert!(ours.files().len() > 2);
    assert!(theirs.names().all(|name| ours.get(name).unwrap().bytes == theirs.get(name).unwrap().bytes));
}

fn complaint(fields: Value) -> String {
    moe(fields).map(|_| ()).unwrap_err().chain().join(": ")
}

fn with(case: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut fields = config(case);
    change(&mut fields);
    fields
}

#[test]
fn models_that_give_no_mixture_are_refused() {
    let said = complaint(with("mixtral-random", |it| it["experts"][1]["source_model"] = "qwen3-a".into()));
    for wanted in ["Mixtral: it is made from llama or mistral models, and one is `qwen3`", "Qwen3 MoE: it is made from"]
    {
        assert!(said.contains(wanted), "{said}");
    }
    let said = complaint(with("mixtral-random", |it| it["experts"][1]["source_model"] = "mistral-a".into()));
    assert!(said.contains("there are `llama` and `mistral`"), "{said}");
    let said = complaint(with("qwen3-random", |it| it["shared_experts"] = json!([{"source_model": "qwen3-a"}])));
    assert!(said.contains("Qwen3 MoE: it has no shared experts"), "{said}");
    let said = complaint(with("qwen2-random", |it| it["shared_experts"] = json!([])));
    assert!(said.contains("Qwen MoE: it has exactly one shared expert"), "{said}");
    let said = complaint(with("mixtral-random", |it| it["architecture"] = "switch".into()));
    assert!(said.contains("there is no architecture `switch`"), "{said}");
    let said = complaint(with("deepseek-plain", |it| it["layout"] = "packed".into()));
    assert!(said.contains("its experts are not packed"), "{said}");
}

/// Copies a model of the fixtures, with something about its weights or its configuration changed.
fn world_with(changed: &str, keep: impl Fn(&str) -> Option<(String, Vec<usize>)>) -> World {
    let world = World::empty();
    for name in ["llama-base", "llama-a", "llama-b"] {
        fs_err::create_dir_all(world.path(name)).unwrap();
        for entry in fs_err::read_dir(fixtures().join(name)).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, world.path(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    let from = model_tensors(&fixtures().join(changed)).unwrap();
    let declared: Vec<luthflow::tensor::Declared> = from
        .names()
        .chain(["model.extra.weight"])
        .filter_map(|name| {
            let (new, shape) = keep(name)?;
            let shape = if shape.is_empty() { from.get(name)?.shape.to_vec() } else { shape };
            Some(luthflow::tensor::Declared { name: new, dtype: luthflow::tensor::Dtype::BF16, shape })
        })
        .collect();
    let path = world.path(changed).join("model.safetensors");
    let mut writer = luthflow::tensor::TensorWriter::create(&path, &declared).unwrap();
    for tensor in &declared {
        writer.write_f32(&tensor.name, &vec![0.5; tensor.shape.iter().product()]).unwrap();
    }
    writer.finish().unwrap();
    world
}

#[test]
fn tensors_that_do_not_fit_are_all_named() {
    let same = |name: &str| (name != "model.extra.weight").then(|| (name.to_owned(), vec![]));
    let said = |world: &World| moe_in(&world.path(""), config("mixtral-random")).map(|_| ()).unwrap_err().to_string();
    let world = world_with("llama-b", |name| {
        if name.contains("layers.1.mlp.up_proj") {
            None
        } else if name.contains("layers.0.mlp.gate_proj") {
            Some((name.to_owned(), vec![24, 12]))
        } else if name.contains("layers.1.mlp.down_proj") {
            Some((name.to_owned(), vec![16, 25]))
        } else {
            same(name)
        }
    });
    let text = said(&world);
    for wanted in [
        "`model.layers.0.mlp.gate_proj.weight` of `llama-b` is [24, 12], not [24, 16]",
        "`llama-b` lacks tensor `model.layers.1.mlp.up_proj.weight`",
        "down_proj.weight` of `llama-b` is [16, 25], not [16, 24]",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    let world = world_with("llama-base", |name| match name {
        "model.extra.weight" => Some((name.to_owned(), vec![2])),
        "model.layers.0.self_attn.q_proj.weight" => None,
        "model.layers.1.self_attn.k_proj.weight" => Some(("model.layers.1.self_attn.k_proj.bias".into(), vec![8])),
        name => same(name),
    });
    let text = said(&world);
    for wanted in [
        "no place for `model.extra.weight` of `llama-base`",
        "no place for `model.layers.1.self_attn.k_proj.bias`",
        "`llama-base` lacks tensor `model.layers.0.self_attn.q_proj.weight`",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    // A configuration that promises more layers than there are.
    let world = world_with("llama-b", same);
    let config = fs_err::read_to_string(world.path("llama-base/config.json")).unwrap();
    world.write("llama-base/config.json", &config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    assert!(said(&world).contains("lacks tensor `model.layers.2."));
    world.write("llama-base/config.json", &config.replace("\"hidden_size\": 16", "\"hidden_size\": -1"));
    assert!(said(&world).contains("no sensible `hidden_size`"));
    world.write("llama-base/config.json", "[]");
    assert!(said(&world).contains("no config.json that can be read"));
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let check = |change: fn(&mut Value)| {
        let fields = with("mixtral-cheap", change);
        let mistakes = Op::from_fields(Kind::Moe, &fields).unwrap().check();
        mistakes
            .into_iter()
            .map(|mistake| format!("{}: {}", mistake.field, mistake.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(check(|_| ()), "");
    assert!(
        check(|it| it["experts_per_token"] = 3.into())
            .contains("experts_per_token: a token cannot pass through 3 of 2")
    );
    assert!(check(|it| it["experts"] = json!([])).contains("there is no expert"));
    assert!(
        check(|it| it["experts"][1]["positive_prompts"] = json!([]))
            .contains("experts[1]: nothing says what `llama-b`")
    );
    assert!(check(|it| it["experts"][1] = it["experts"][0].clone()).contains("prompts of all experts are the same"));
    assert!(check(|it| it["experts"][1]["source_model"] = "llama-a".into()).contains("all experts are `llama-a`"));
    assert!(check(|it| it["dtype"] = "int8".into()).contains("cannot store weights in `int8`"));
    assert!(check(|it| it["experts"][0]["noise_scale"] = json!(f64::MAX)).is_empty());
}

#[test]
fn a_configuration_of_mergekit_moe_needs_no_pipeline() {
    let world = World::empty();
    for name in ["llama-base", "llama-a", "llama-b"] {
        fs_err::create_dir_all(world.path(name)).unwrap();
        for entry in fs_err::read_dir(fixtures().join(name)).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, world.path(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    let text = fs_err::read_to_string(fixtures().join("mixtral-noise.yaml")).unwrap();
    world.write("moe.yaml", &text);
    let ran = world.run(&["merge", "moe.yaml", "out", "--seed", "7"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let golden = fs_err::read(fixtures().join("mixtral-noise.safetensors")).unwrap();
    assert!(fs_err::read(world.path("out/model.safetensors")).unwrap() == golden);
    world.write("bad.yaml", &text.replace("gate_mode: random", "gate_mode: hiden"));
    let ran = world.run(&["merge", "bad.yaml", "out2"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no value `hiden`"), "{}", ran.stderr);
    world.write("bad.yaml", &text.replace("llama-b", "nowhere"));
    let ran = world.run(&["merge", "bad.yaml", "out2"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no folder `nowhere`"), "{}", ran.stderr);
}
