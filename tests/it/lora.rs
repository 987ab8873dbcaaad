//! Adapters against those of PEFT 0.21.2 and MergeKit 0.1.5 (`tests/fixtures/lora`, made by `make.py` there).

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use luthflow::tensor::{Declared, Dtype, ModelTensors, TensorFile, TensorWriter, model_tensors};
use serde_json::{Value, json};

use crate::op::{self, Ran};
use crate::world::World;

fn fixtures() -> PathBuf {
    op::repository().join("tests/fixtures/lora")
}

fn apply(model: &Path, adapter: &Path) -> Result<Ran, OpError> {
    let inputs = op::inputs(&[("model", "base", model), ("adapter", "lora", adapter)]);
    op::run(Kind::ApplyLora, json!({"model": "base", "adapter": "lora"}), &inputs)
}

fn extract(model: &Path, base: &Path, mut fields: Value) -> Result<Ran, OpError> {
    let inputs = op::inputs(&[("model", "tuned", model), ("base", "base", base)]);
    fields["model"] = "tuned".into();
    fields["base"] = "base".into();
    op::run(Kind::ExtractLora, fields, &inputs)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

/// The cases, and what is asked of them: equal bits; or that at most so many numbers of a hundred are one place off, and
/// none more than that.
const CASES: [(&str, &str, f64); 23] = [
    ("plain-bf16", "base-bf16", 0.0),
    ("plain-f32", "base-f32", 0.0),
    ("half-bf16", "base-bf16", 0.0),
    ("half-f32", "base-f32", 0.0),
    ("patterns-bf16", "base-bf16", 0.0),
    ("patterns-f32", "base-f32", 0.0),
    ("embed-bf16", "base-bf16", 0.0),
    ("embed-f32", "base-f32", 0.0),
    ("saved-bf16", "base-bf16", 0.0),
    ("saved-f32", "base-f32", 0.0),
    ("embedtied-bf16", "tied-bf16", 0.0),
    ("embedtied-f32", "tied-f32", 0.0),
    ("bias-bf16", "qwen-bf16", 0.0),
    ("bias-f32", "qwen-f32", 0.0),
    ("biasall-bf16", "qwen-bf16", 0.0),
    ("biasall-f32", "qwen-f32", 0.0),
    ("lorabias-bf16", "qwen-bf16", 0.0),
    ("lorabias-f32", "qwen-f32", 0.0),
    ("conv1d-f32", "gpt2-f32", 0.0),
    // The length of a row is a sum that torch adds up in an order of its own.
    ("dora-bf16", "base-bf16", 1.0),
    ("dora-f32", "base-f32", 30.0),
    ("doraembed-bf16", "base-bf16", 1.0),
    ("doraembed-f32", "base-f32", 30.0),
];

/// Counts the numbers that differ, and returns by how many places of the larger one at most.
fn compare(ours: &ModelTensors, theirs: &ModelTensors) -> (usize, usize, f32) {
    assert!(
        ours.names().eq(theirs.names()),
        "{:?} {:?}",
        ours.names().collect::<Vec<_>>(),
        theirs.names().collect::<Vec<_>>()
    );
    let (mut total, mut differ, mut furthest) = (0, 0, 0.0_f32);
    for name in theirs.names() {
        let (a, b) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
        assert_eq!((a.dtype, a.shape), (b.dtype, b.shape), "{name}");
        let epsilon = if a.dtype == Dtype::F32 { f32::EPSILON } else { 2.0_f32.powi(-7) };
        for (a, b) in a.to_f32().into_iter().zip(b.to_f32()) {
            total += 1;
            if a.to_bits() != b.to_bits() {
                differ += 1;
                furthest = furthest.max((a - b).abs() / (a.abs().max(b.abs()) * epsilon));
            }
        }
    }
    (total, differ, furthest)
}

fn golden(file: &Path) -> (tempfile::TempDir, ModelTensors) {
    let dir = tempfile::tempdir().unwrap();
    fs_err::copy(file, dir.path().join("model.safetensors")).unwrap();
    let tensors = model_tensors(dir.path()).unwrap();
    (dir, tensors)
}

#[test]
fn applied_adapters_give_the_numbers_of_peft() {
    let mut wrong = Vec::new();
    for (case, base, percent) in CASES {
        let ran =
            apply(&fixtures().join(base), &fixtures().join(case)).unwrap_or_else(|e| panic!("{case}: {:?}", e.chain()));
        let ours = model_tensors(ran.path()).unwrap();
        let (_dir, theirs) = golden(&fixtures().join(format!("{case}.safetensors")));
        let (total, differ, furthest) = compare(&ours, &theirs);
        let share = 100.0 * differ as f64 / total as f64;
        if share > percent || furthest > 2.0 {
            wrong.push(format!("{case}: {differ} of {total}, by up to {furthest} places"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn dora_of_convolutions_in_rows_is_peft_to_the_last_place() {
    let ran = apply(&fixtures().join("gpt2-f32"), &fixtures().join("conv1ddora-f32")).unwrap();
    let (_dir, theirs) = golden(&fixtures().join("conv1ddora-f32.safetensors"));
    let (total, differ, furthest) = compare(&model_tensors(ran.path()).unwrap(), &theirs);
    assert!(furthest <= 2.0 && differ * 2 < total, "{differ} of {total}, by up to {furthest} places");
}

#[test]
fn threads_and_shards_leave_no_trace() {
    let (model, adapter) = (fixtures().join("base-bf16"), fixtures().join("patterns-bf16"));
    let inputs = op::inputs(&[("model", "base", &model), ("adapter", "lora", &adapter)]);
    let fields = json!({"model": "base", "adapter": "lora"});
    let weights = |threads| {
        let ran = op::run_with(threads, Kind::ApplyLora, fields.clone(), &inputs).unwrap();
        fs_err::read(ran.path().join("model.safetensors")).unwrap()
    };
    assert!(weights(1) == weights(4));
    let fields = json!({"model": "base", "adapter": "lora", "shard_size": 3000});
    let ran = op::run(Kind::ApplyLora, fields, &inputs).unwrap();
    assert!(ran.path().join("model.safetensors.index.json").is_file());
    let (_dir, theirs) = golden(&fixtures().join("patterns-bf16.safetensors"));
    assert_eq!(compare(&model_tensors(ran.path()).unwrap(), &theirs).1, 0);
    let (model, base) = (fixtures().join("tuned-f32"), fixtures().join("base-f32"));
    let inputs = op::inputs(&[("model", "tuned", &model), ("base", "base", &base)]);
    let adapter = |threads| {
        let fields = json!({"model": "tuned", "base": "base", "max_rank": 9});
        let ran = op::run_with(threads, Kind::ExtractLora, fields, &inputs).unwrap();
        let names: BTreeSet<String> =
            fs_err::read_dir(ran.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["adapter_config.json", "adapter_model.safetensors"]);
        fs_err::read(ran.path().join("adapter_model.safetensors")).unwrap()
    };
    assert!(adapter(1) == adapter(3));
}

/// The product of the matrices of every module, with its rank, and the tensors that are kept whole.
type Products = (BTreeMap<String, (usize, Vec<f64>)>, BTreeMap<String, Vec<f32>>);

fn products(dir: &Path) -> Products {
    let file = TensorFile::open(&dir.join("adapter_model.safetensors")).unwrap();
    let (mut products, mut whole) = (BTreeMap::new(), BTreeMap::new());
    for name in file.names() {
        let view = file.get(name).unwrap();
        let up = name.replace("lora_A.weight", "lora_B.weight").replace("lora_embedding_A", "lora_embedding_B");
        if up != name {
            let (a, b) = (view.to_f32(), file.get(&up).unwrap().to_f32());
            let (rank, columns) = (view.shape[0], view.shape[1]);
            let mut product = vec![0.0; b.len() / rank * columns];
            for (i, out) in product.iter_mut().enumerate() {
                let (row, column) = (i / columns, i % columns);
                *out = (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * columns + column])).sum();
            }
            products.insert(name.to_owned(), (rank, product));
        } else if !name.contains("lora_") {
            whole.insert(name.to_owned(), view.to_f32());
        }
    }
    (products, whole)
}

/// The vectors of a decomposition may point either way, so what they make together is compared. Where the last value that
/// is kept and the first that is not are close, f32 tells their vectors apart to five places only.
#[test]
fn extracted_adapters_are_those_of_mergekit() {
    for (case, flags) in [
        ("xl", json!({"max_rank": 6})),
        ("xlepsilon", json!({"max_rank": 12, "sv_epsilon": 0.1, "distribute_scale": false})),
        (
            "xlembed",
            json!({"max_rank": 5, "embed_lora": true, "skip_undecomposable": true, "exclude_regex": [r"layers\.0\.mlp"]}),
        ),
        ("xltied", json!({"max_rank": 64, "include_regex": ["self_attn"]})),
    ] {
        for (dtype, epsilon) in [("bf16", 0.008), ("f32", 5e-5)] {
            let pair = if case == "xltied" { ["tunedtied", "tied"] } else { ["tuned", "base"] };
            let [model, base] = pair.map(|name| fixtures().join(format!("{name}-{dtype}")));
            let mut flags = flags.clone();
            let theirs = fixtures().join(format!("{case}-{dtype}"));
            let mut wanted = read_json(&theirs.join("adapter_config.json"));
            flags["base_name"] = wanted["base_model_name_or_path"].clone();
            let ran = extract(&model, &base, flags).unwrap();
            let mut config = read_json(&ran.path().join("adapter_config.json"));
            for config in [&mut config, &mut wanted] {
                for list in ["target_modules", "modules_to_save"] {
                    let mut items: Vec<String> = serde_json::from_value(config[list].clone()).unwrap();
                    items.sort();
                    config[list] = items.into();
                }
            }
            assert_eq!(config, wanted, "{case}-{dtype}");
            let (ours, our_whole) = products(ran.path());
            let (theirs, their_whole) = products(&theirs);
            assert_eq!(our_whole, their_whole, "{case}-{dtype}");
            assert!(ours.keys().eq(theirs.keys()), "{case}-{dtype}");
            for (name, (rank, product)) in &ours {
                let (their_rank, their_product) = &theirs[name];
                assert_eq!(rank, their_rank, "{case}-{dtype} {name}");
                let largest = their_product.iter().fold(0.0_f64, |most, number| most.max(number.abs()));
                for (a, b) in product.iter().zip(their_product) {
                    assert!((a - b).abs() <= epsilon * largest, "{case}-{dtype} {name}: {a} {b}");
                }
            }
        }
    }
}

/// Returns the sum of squared differences of two models over that of `base`.
fn distance(a: &Path, b: &Path, from: &Path) -> f64 {
    let [a, b, from] = [a, b, from].map(|dir| model_tensors(dir).unwrap());
    assert!(a.names().eq(b.names()));
    let (mut apart, mut moved) = (0.0, 0.0);
    for name in a.names() {
        let [x, y, z] = [&a, &b, &from].map(|model| model.get(name).unwrap().to_f32());
        for i in 0..x.len() {
            apart += f64::from(x[i] - y[i]).powi(2);
            moved += f64::from(y[i] - z[i]).powi(2);
        }
    }
    apart / moved
}

#[test]
fn what_is_extracted_and_applied_gives_the_model_back() {
    for (tuned, base, most) in [("tuned", "base", 1e-11), ("tunedtied", "tied", 1e-11)] {
        for (dtype, most) in [("f32", most), ("bf16", 1e-3)] {
            let [tuned, base] = [tuned, base].map(|name| fixtures().join(format!("{name}-{dtype}")));
            let whole = extract(&tuned, &base, json!({"max_rank": 1000, "dtype": "float32"})).unwrap();
            assert!((whole.metric("explained") - 1.0).abs() < 1e-9);
            let back = apply(&base, whole.path()).unwrap();
            let apart = distance(back.path(), &tuned, &base);
            assert!(apart < most, "{dtype}: {apart}");
            assert_eq!(back.read("config.json"), fs_err::read_to_string(base.join("config.json")).unwrap());
            // What is cut off is what the singular values say.
            let cut =
                extract(&tuned, &base, json!({"max_rank": 4, "dtype": "float32", "include_regex": ["_proj"]})).unwrap();
            assert!(cut.metric("explained") < 0.999 && cut.metric("explained") > 0.3);
            let closer = distance(apply(&base, cut.path()).unwrap().path(), &tuned, &base);
            assert!(closer > apart && closer < 1.0, "{closer}");
        }
    }
}

#[test]
fn a_changed_bias_is_kept() {
    let world = World::empty();
    let names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias"];
    let make = |dir: &str, shift: f32| {
        let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin() + shift * (i as f32).cos()).collect();
        model(&world, dir, &[(names[0], &[4, 4], numbers(16)), (names[1], &[4], numbers(4))])
    };
    let (base, tuned) = (make("base", 0.0), make("tuned", 0.5));
    let adapter = extract(&tuned, &base, json!({"max_rank": 4})).unwrap();
    let config = read_json(&adapter.path().join("adapter_config.json"));
    assert_eq!((&config["bias"], &config["r"]), (&json!("lora_only"), &json!(4)));
    let back = apply(&base, adapter.path()).unwrap();
    assert!(distance(back.path(), &tuned, &base) < 1e-11);
    // A module of which nothing is left is left out, and PEFT is told so.
    let same = extract(&tuned, &base, json!({"max_rank": 4, "sv_epsilon": 100.0})).map(|_| ());
    assert!(same.unwrap_err().to_string().contains("no module"));
}

/// Writes a model folder of the given tensors.
fn model(world: &World, dir: &str, tensors: &[(&str, &[usize], Vec<f32>)]) -> PathBuf {
    file(&world.path(dir).join("model.safetensors"), tensors);
    world.path(dir)
}

fn file(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)]) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let declared: Vec<Declared> = tensors
        .iter()
        .map(|(name, shape, _)| Declared { name: (*name).into(), dtype: Dtype::F32, shape: shape.to_vec() })
        .collect();
    let mut writer = TensorWriter::create(path, &declared).unwrap();
    for (name, _, numbers) in tensors {
        writer.write_f32(name, numbers).unwrap();
    }
    writer.finish().unwrap();
}

/// A tied output layer that an adapter changes is written beside the embedding.
#[test]
fn an_adapter_of_a_tied_output_layer_unties_it() {
    let world = World::empty();
    let base = fixtures().join("tied-f32");
    let name = "base_model.model.lm_head.lora_";
    let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.3).sin()).collect::<Vec<f32>>();
    let (a, b) = (format!("{name}A.weight"), format!("{name}B.weight"));
    file(&world.path("lora/adapter_model.safetensors"), &[(&a, &[2, 16], numbers(32)), (&b, &[40, 2], numbers(80))]);
    world.write("lora/adapter_config.json", r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 2}"#);
    let ran = apply(&base, &world.path("lora")).unwrap();
    let (before, after) = (model_tensors(&base).unwrap(), model_tensors(ran.path()).unwrap());
    let embedding = before.get("model.embed_tokens.weight").unwrap();
    assert!(after.get("model.embed_tokens.weight").unwrap().bytes == embedding.bytes);
    let (head, embedding) = (after.get("lm_head.weight").unwrap().to_f32(), embedding.to_f32());
    let (a, b) = (numbers(32), numbers(80));
    for (i, (head, embedding)) in head.iter().zip(embedding).enumerate() {
        let (row, column) = (i / 16, i % 16);
        let sum = a[column] * b[2 * row] + a[16 + column] * b[2 * row + 1];
        assert!((head - embedding - sum).abs() < 1e-6);
    }
    assert_eq!(read_json(&ran.path().join("config.json"))["tie_word_embeddings"], false);
}

fn complaint(model: &Path, adapter: &Path) -> String {
    apply(model, adapter).map(|_| ()).unwrap_err().chain().join(": ")
}

const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

/// All that is wrong is said at once, each thing by its name.
#[test]
fn adapters_that_do_not_fit_are_refused() {
    let world = World::empty();
    let base = fixtures().join("base-f32");
    let plain = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "x_proj"]}"#;
    let wrong = |config: &str, tensors: &[(&str, &[usize])], wanted: &[&str]| {
        let dir = world.path("lora");
        let _ = fs_err::remove_dir_all(&dir);
        let filled: Vec<_> =
            tensors.iter().map(|(name, shape)| (*name, *shape, vec![0.5; shape.iter().product()])).collect();
        file(&dir.join("adapter_model.safetensors"), &filled);
        world.write("lora/adapter_config.json", config);
        let said = complaint(&base, &dir);
        for wanted in wanted {
            assert!(said.contains(wanted), "{wanted:?} in {said}");
        }
    };
    let other = "base_model.model.model.layers.7.x_proj.lora_A.weight";
    let other_up = "base_model.model.model.layers.7.x_proj.lora_B.weight";
    let good: [(&str, &[usize]); 2] = [(A, &[2, 16]), (B, &[16, 2])];
    wrong(plain, &[(A, &[2, 16])], &["q_proj`: it has one half of a pair"]);
    wrong(plain, &[(A, &[2, 16]), (B, &[16, 3])], &["do not fit each other"]);
    wrong(plain, &[(A, &[3, 16]), (B, &[16, 3])], &["its rank is 3, and the configuration says 2"]);
    wrong(plain, &[(A, &[0, 16]), (B, &[16, 0])], &["are empty"]);
    wrong(plain, &[(A, &[2, 16, 1]), (B, &[16, 2, 1])], &["convolutions"]);
    wrong(
        plain,
        &[(A, &[2, 9]), (B, &[16, 2]), (other, &[2, 16]), (other_up, &[16, 2])],
        &[
            "`lora` does not fit the model `base`",
            "q_proj`: matrices [2, 9] and [16, 2]",
            "the weight [16, 16]",
            "layers.7.x_proj`: the model has no such module",
        ],
    );
    let magnitude = B.replace("lora_B.weight", "lora_magnitude_vector");
    wrong(plain, &[good[0], good[1], (&magnitude, &[16])], &["magnitude is there", "use_dora: false"]);
    let dora = plain.replace('}', r#", "use_dora": true}"#);
    wrong(&dora, &good, &["magnitude is missing"]);
    wrong(&dora, &[good[0], good[1], (&magnitude, &[3])], &["magnitude does not have 16 numbers"]);
    let bias = B.replace(".weight", ".bias");
    wrong(plain, &[good[0], good[1], (&bias, &[16])], &["`lora_B.bias` is there"]);
    let with_bias = plain.replace('}', r#", "lora_bias": true}"#);
    wrong(&with_bias, &[good[0], good[1], (&bias, &[16])], &["adds to its bias", "None"]);
    wrong(plain, &[good[0], good[1], ("base_model.model.x.lora_C.weight", &[2])], &["lora_C.weight` is nothing"]);
    wrong(
        plain,
        &[good[0], good[1], ("base_model.model.x.weight", &[2])],
        &["`x.weight`: the model has no such tensor"],
    );
    wrong(plain, &[("base_model.model.model.norm.weight", &[2])], &["[2] in the adapter, [16] in the model"]);
    wrong(&plain.replace("q_proj", "k_proj"), &good, &["does not name this module"]);
    wrong(&plain.replace("LORA", "IA3"), &good, &["type `IA3`"]);
    wrong(&plain.replace('}', r#", "layer_replication": [[0, 2]]}"#), &good, &["`layer_replication` may change"]);
    wrong(&plain.replace('}', r#", "init_lora_weights": "pissa"}"#), &good, &["begins as `pissa`"]);
    wrong("[]", &good, &["is not an object"]);
    wrong("{", &good, &["adapter_config.json"]);
    wrong(plain, &[], &["holds no tensors"]);
}

#[test]
fn files_that_lie_are_refused() {
    let world = World::empty();
    let base = fixtures().join("base-f32");
    let config = fs_err::read_to_string(fixtures().join("plain-f32/adapter_config.json")).unwrap();
    world.write("empty/x", "");
    assert!(complaint(&base, &world.path("empty")).contains("holds no adapter_config.json"));
    world.write("pickle/adapter_config.json", &config);
    world.write("pickle/adapter_model.bin", "pickle");
    let error = apply(&base, &world.path("pickle")).map(|_| ()).unwrap_err();
    assert!(error.chain().join(": ").contains("holds no adapter_model.safetensors"));
    let whole = fs_err::read(fixtures().join("plain-f32/adapter_model.safetensors")).unwrap();
    for cut in [0, 7, 8, 100, whole.len() - 1] {
        world.write("cut/adapter_config.json", &config);
        fs_err::write(world.path("cut/adapter_model.safetensors"), &whole[..cut]).unwrap();
        let said = complaint(&base, &world.path("cut"));
        assert!(said.contains("adapter_model.safetensors"), "{said}");
    }
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs_err::write(world.path("cut/adapter_model.safetensors"), &lying).unwrap();
    assert!(complaint(&base, &world.path("cut")).contains("header claims"));
    // A number that is no number would spread over a whole row.
    let mut broken = whole;
    let end = broken.len();
    broken[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(world.path("cut/adapter_model.safetensors"), &broken).unwrap();
    assert!(complaint(&base, &world.path("cut")).contains("infinite or undefined"));
}

#[test]
fn models_without_a_common_shape_give_no_adapter() {
    let world = World::empty();
    let ones = |count| vec![1.0; count];
    let base = model(
        &world,
        "base",
        &[("a.weight", &[2, 2], ones(4)), ("b.weight", &[3, 2], ones(6)), ("gone", &[1], ones(1))],
    );
    let tuned = model(
        &world,
        "tuned",
        &[
            ("a.weight", &[2, 3], ones(6)),
            ("b.weight", &[3, 2], ones(6)),
            ("new.weight", &[2, 2], ones(4)),
            ("scale", &[1], vec![2.0]),
        ],
    );
    let said = extract(&tuned, &base, json!({})).map(|_| ()).unwrap_err().to_string();
    for wanted in [
        "`a.weight`: [2, 2] in the base, [2, 3] in the model",
        "`new.weight`: the base does not have it",
        "`scale` has changed and is no module's weight",
        "`gone`: the model does not have it",
    ] {
        assert!(said.contains(wanted), "{wanted:?} in {said}");
    }
    let said = extract(&tuned, &base, json!({"include_regex": ["("]})).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("`include_regex`: `(` is no pattern"), "{said}");
    let infinite = model(&world, "infinite", &[("b.weight", &[1, 2], vec![f32::INFINITY, 1.0])]);
    let zero = model(&world, "zero", &[("b.weight", &[1, 2], vec![0.0, 1.0])]);
    let said = extract(&infinite, &zero, json!({})).map(|_| ()).unwrap_err().to_string();
    assert!(
        said.contains("cannot decompose `b`: the difference of the models holds numbers that are infinite"),
        "{said}"
    );
}

fn copy(world: &World, from: &str, to: &str) {
    fs_err::create_dir_all(world.path(to)).unwrap();
    for entry in fs_err::read_dir(fixtures().join(from)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path(to).join(path.file_name().unwrap())).unwrap();
    }
}

/// In a pipeline and on the command line, and a MergeKit configuration that names `model+adapter`.
#[test]
fn adapters_go_through_pipelines_and_merges() {
    let world = World::empty();
    copy(&world, "base-bf16", "models/base");
    copy(&world, "tuned-bf16", "models/tuned");
    copy(&world, "plain-bf16", "lo+ra");
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  base: {kind: source, model: models/base}\n  tuned: {kind: source, model: models/tuned}\n  \
         lora: {kind: source, adapter: lo+ra}\n  adapted: {kind: apply_lora, model: base, adapter: lora}\n  \
         diff: {kind: extract_lora, model: tuned, base: base, max_rank: 100, dtype: float32}\n  \
         again: {kind: apply_lora, model: base, adapter: diff}\n",
    );
    world.run_ok(&["pipeline.yaml"]);
    let golden = fs_err::read(fixtures().join("plain-bf16.safetensors")).unwrap();
    assert_eq!(world.run(&["export", "adapted", "adapted"]).code, 0);
    assert!(fs_err::read(world.path("adapted/model.safetensors")).unwrap() == golden);
    // MergeKit gave the same for `merge_method: linear` over `base+adapter` alone (facts: the golden file of the tools).
    world.write(
        "merge.yaml",
        "merge_method: linear\nmodels:\n  - model: models/base+lo+ra\n    parameters: {weight: 1}\ndtype: bfloat16\n",
    );
    let ran = world.run(&["merge", "merge.yaml", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(fs_err::read(world.path("out/model.safetensors")).unwrap() == golden);
    world.write(
        "bad.yaml",
        "merge_method: linear\nmodels:\n  - model: models/base+nowhere\n    parameters: {weight: 1}\n",
    );
    let ran = world.run(&["merge", "bad.yaml", "out2"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no folder `nowhere`"), "{}", ran.stderr);
    world.write("wrong.yaml", "version: 1\nnodes:\n  base: {kind: source, model: models/base}\n  it: {kind: apply_lora, model: base, adapter: base}\n");
    let ran = world.run(&["check", "wrong.yaml"]);
    assert!(ran.stderr.contains("`base` is a model, and a LoRA adapter is needed here"), "{}", ran.stderr);
}
