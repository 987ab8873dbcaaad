//! MergeKit configurations: in a pipeline, from a file, on the command line; their mistakes; and what holds of merges.

use std::path::Path;

use luthflow::spec::merge_file;
use luthflow::spec::params::{MergeConfig, MergeParams, Precision};
use luthflow::tensor::{Declared, Dtype, ShardedWriter, TensorFile, model_tensors};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::merge_parity::{merge, parity};
use crate::world::World;

fn of(config: Value) -> MergeParams {
    MergeParams::of_config(serde_json::from_value::<MergeConfig>(config).unwrap())
}

fn weights(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("model.safetensors")).unwrap()
}

fn merged(config: Value) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    merge(of(config), &parity(), out.path()).unwrap();
    weights(out.path())
}

fn copy_model(world: &World, name: &str, to: &str) {
    fs_err::create_dir_all(world.path(to)).unwrap();
    for entry in fs_err::read_dir(parity().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path(to).join(path.file_name().unwrap())).unwrap();
    }
}

const SLERP: &str = "\
slices:
  - sources:
      - model: models/a
        layer_range: [0, 3]
      - model: models/base
        layer_range: [0, 3]
merge_method: slerp
base_model: models/base
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: bfloat16
";

fn world() -> World {
    let world = World::empty();
    copy_model(&world, "bf16/a", "models/a");
    copy_model(&world, "bf16/base", "models/base");
    world.write("merge_slerp.yaml", SLERP);
    world
}

#[test]
fn one_merge_needs_no_pipeline_and_is_made_once() {
    let world = world();
    let ran = world.run(&["merge", "merge_slerp.yaml", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let wanted = merged(serde_json::from_value(yaml(&SLERP.replace("models/", "bf16/"))).unwrap());
    assert!(weights(&world.path("out")) == wanted);
    assert!(world.path("out/config.json").is_file());
    let again = world.run(&["merge", "merge_slerp.yaml", "again", "--json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!again.stdout.contains("\"node_started\""), "all of it was there: {}", again.stdout);
    assert!(weights(&world.path("again")) == wanted);
    let ran = world.run(&["merge", "merge_slerp.yaml", "out"]);
    assert_eq!((ran.code, ran.stderr.contains("is not empty")), (2, true), "{}", ran.stderr);
}

fn yaml(text: &str) -> Value {
    let (value, diagnostics) = merge_file::value(text);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    value
}

#[test]
fn a_pipeline_takes_a_configuration_as_a_block_or_as_a_file() {
    let world = world();
    let sources =
        "version: 1\nnodes:\n  luth: {kind: source, model: models/a}\n  qwen: {kind: source, model: models/base}\n";
    let nodes = "nodes: {models/a: luth, models/base: qwen}";
    world.write("file.yaml", &format!("{sources}  merged: {{kind: merge, config: merge_slerp.yaml, {nodes}}}\n"));
    let block = SLERP.replace("models/a", "luth").replace("models/base", "qwen").replace('\n', "\n      ");
    world.write("block.yaml", &format!("{sources}  merged:\n    kind: merge\n    config:\n      {block}\n"));
    world.run_ok(&["file.yaml"]);
    let again = world.run_ok(&["block.yaml"]);
    assert_eq!(again.ran, Vec::<String>::new(), "what models are called changes no key");
    let swept = SLERP.replace("value: 0.5", "value: \"${t}\"");
    world.write("swept.yaml", &swept);
    let text = format!("{sources}  merged: {{kind: merge, config: swept.yaml, {nodes}}}\nsweep: {{t: [0.25, 0.5]}}\n");
    world.write("sweep.yaml", &text);
    assert_eq!(world.run_ok(&["sweep.yaml"]).ran, ["merged[t=0.25]"], "the other one is the file as it was");
}

#[test]
fn mistakes_in_a_configuration_are_shown_where_they_stand() {
    let world = world();
    for (from, to, wanted) in [
        ("merge_method: slerp", "merge_method: slurp", "there is no merge method `slurp`"),
        ("dtype: bfloat16", "dtpye: bfloat16", "did you mean `dtype`?"),
        ("dtype: bfloat16", "dtype: int64", "cannot merge in `int64`"),
        (
            "layer_range: [0, 3]\n      - model: models/base",
            "layer_range: [0, 2]\n      - model: models/base",
            "have 2 and 3 layers",
        ),
        ("value: 0.5", "value: fast", "expected a number"),
        ("  t:", "  weight: 1\n  t:", "`slerp` has no parameter `weight`"),
        ("base_model: models/base\n", "", "`slerp` needs a `base_model`"),
        ("model: models/a", "model: models/b", "there is no folder `models/b`"),
        ("dtype: bfloat16", "modules: {}", "give `models`, `slices` or `modules`"),
        ("dtype: bfloat16", "residual_weight: 1", "`residual_weight` is nothing that can be merged by"),
        (
            "[0, 3]\n      - model: models/base\n        layer_range: [0, 3]",
            "[0, 9]\n      - model: models/base\n        layer_range: [0, 9]",
            "has 3 layers, and no range [0, 9]",
        ),
        ("dtype: bfloat16", "chat_template: none", "there is no chat template `none`"),
        ("dtype: bfloat16", "tokenizer_source: union", "has no tokenizer.json"),
    ] {
        assert!(SLERP.contains(from), "{from}");
        world.write("wrong.yaml", &SLERP.replacen(from, to, 1));
        let ran = world.run(&["merge", "wrong.yaml", "out"]);
        assert!(ran.code == 1 || ran.code == 2, "{to}: {} {}", ran.code, ran.stderr);
        let flat: String = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(wanted), "{to}: {}", ran.stderr);
        assert!(!world.path("out").exists(), "{to}: nothing is left behind");
    }
}

#[test]
fn frankenmerges_describe_their_layers() {
    let part = |model: &str, from: usize, to: usize| json!({"sources": [{"model": model, "layer_range": [from, to]}]});
    let config = json!({"merge_method": "passthrough", "slices": [part("bf16/a", 0, 2), part("bf16/b", 1, 3)]});
    let out = tempfile::tempdir().unwrap();
    merge(of(config), &parity(), out.path()).unwrap();
    let config: Value = serde_json::from_slice(&fs_err::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["num_hidden_layers"], 4);
    assert_eq!(config["layer_types"].as_array().unwrap().len(), 4);
    let tensors = model_tensors(out.path()).unwrap();
    let b = model_tensors(&parity().join("bf16/b")).unwrap();
    let name = |layer: usize| format!("model.layers.{layer}.mlp.up_proj.weight");
    assert!(tensors.get(&name(3)).unwrap().bytes == b.get(&name(2)).unwrap().bytes);
}

#[test]
fn an_output_layer_of_its_own_is_no_longer_tied() {
    let half = |model: &str| json!({"model": model, "parameters": {"weight": 0.5}});
    let config = json!({"merge_method": "linear", "models": [half("tied"), half("untied")]});
    let out = tempfile::tempdir().unwrap();
    merge(of(config), &parity(), out.path()).unwrap();
    let config: Value = serde_json::from_slice(&fs_err::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["tie_word_embeddings"], false);
}

#[test]
fn shards_hold_what_one_file_holds() {
    let config = json!({"merge_method": "linear", "models": [
        {"model": "bf16/a", "parameters": {"weight": 0.5}}, {"model": "bf16/b", "parameters": {"weight": 0.5}}]});
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    merge(of(config.clone()), &parity(), whole.path()).unwrap();
    merge(MergeParams { shard_size: 2000, ..of(config) }, &parity(), parts.path()).unwrap();
    let (one, many) = (model_tensors(whole.path()).unwrap(), model_tensors(parts.path()).unwrap());
    assert!(many.files().len() > 3 && one.names().eq(many.names()));
    assert!(one.names().all(|name| one.get(name).unwrap().bytes == many.get(name).unwrap().bytes));
    // And they are read as one.
    let again = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(again.path().join("models")).unwrap();
    let root = tempfile::tempdir().unwrap();
    fs_err::rename(parts.path(), root.path().join("sharded")).unwrap();
    let config = json!({"merge_method": "passthrough", "models": [{"model": "sharded"}]});
    merge(of(config), root.path(), again.path()).unwrap();
    assert!(weights(again.path()) == weights(whole.path()));
}

#[test]
fn a_writer_notices_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let declared = [Declared { name: "w".into(), dtype: Dtype::F32, shape: vec![2] }];
    let writer = ShardedWriter::create(dir.path(), &declared, 100).unwrap();
    assert!(writer.write_at(0, 4, &[0; 8]).is_err());
    writer.write_at(0, 4, &[0; 4]).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("not written whole"));
}

#[test]
fn threads_leave_no_trace_in_any_method() {
    let three = |density: f64| {
        let model = |name: &str| json!({"model": name, "parameters": {"weight": 0.4, "density": density}});
        json!([model("bf16/a"), model("bf16/b"), model("bf16/c")])
    };
    for method in ["ties", "dare_ties", "della", "breadcrumbs"] {
        let config = json!({"merge_method": method, "base_model": "bf16/base", "models": three(0.5)});
        let all: Vec<Vec<u8>> = [1, 2, 5]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| merged(config.clone()))
            })
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{method}");
    }
}

#[test]
fn the_seed_decides_the_random_methods() {
    let model = |name: &str| json!({"model": name, "parameters": {"weight": 0.4, "density": 0.5}});
    let config =
        json!({"merge_method": "dare_linear", "base_model": "bf16/base", "models": [model("bf16/a"), model("bf16/b")]});
    let with = |seed| {
        let out = tempfile::tempdir().unwrap();
        merge(MergeParams { seed, ..of(config.clone()) }, &parity(), out.path()).unwrap();
        weights(out.path())
    };
    assert!(with(1) == with(1) && with(1) != with(2));
}

/// Rounding once is nearer to the truth than rounding after every step.
#[test]
fn high_precision_rounds_once() {
    let model = |name: &str| json!({"model": format!("bf16/{name}"), "parameters": {"weight": 0.37}});
    let config = json!({"merge_method": "task_arithmetic", "base_model": "bf16/base", "models": [model("a"), model("b"), model("c")]});
    let truth = {
        let read = |name: &str| model_tensors(&parity().join("bf16").join(name)).unwrap();
        let (base, others) = (read("base"), [read("a"), read("b"), read("c")]);
        let name = "model.embed_tokens.weight";
        let of = |model: &luthflow::tensor::ModelTensors| model.get(name).unwrap().to_f32();
        let mut sum: Vec<f64> = of(&base).iter().map(|number| f64::from(*number)).collect();
        for other in &others {
            for ((sum, x), b) in sum.iter_mut().zip(of(other)).zip(of(&base)) {
                *sum += 0.37 * (f64::from(x) - f64::from(b));
            }
        }
        sum
    };
    let mut wanted: Vec<f32> = truth.iter().map(|number| *number as f32).collect();
    Dtype::BF16.round(&mut wanted);
    let wrong = |precision| {
        let out = tempfile::tempdir().unwrap();
        merge(MergeParams { precision, ..of(config.clone()) }, &parity(), out.path()).unwrap();
        let numbers = model_tensors(out.path()).unwrap().get("model.embed_tokens.weight").unwrap().to_f32();
        numbers.iter().zip(&wanted).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
    };
    let (high, mergekit) = (wrong(Precision::High), wrong(Precision::Mergekit));
    assert_eq!(high, 0, "the nearest number everywhere");
    assert!(mergekit * 20 > wanted.len(), "{mergekit} of {} are not", wanted.len());
}

fn tiny(dir: &Path, numbers: &[f32]) {
    fs_err::create_dir_all(dir).unwrap();
    let declared = [Declared { name: "w".into(), dtype: Dtype::BF16, shape: vec![numbers.len()] }];
    let writer = ShardedWriter::create(dir, &declared, 1 << 30).unwrap();
    let mut bytes = vec![0; numbers.len() * 2];
    Dtype::BF16.write_f32(numbers, &mut bytes);
    writer.write_at(0, 0, &bytes).unwrap();
    writer.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn laws_of_merges(
        a in prop::collection::vec(-4.0_f32..4.0, 2..200),
        spread in 0.01_f32..2.0,
        w in 0.05..1.0_f64,
    ) {
        let world = tempfile::tempdir().unwrap();
        let shifted = |by: f32| a.iter().enumerate().map(|(i, x)| x + spread * (i as f32 * by).sin()).collect::<Vec<_>>();
        tiny(&world.path().join("base"), &a);
        tiny(&world.path().join("x"), &shifted(1.3));
        tiny(&world.path().join("y"), &shifted(0.7));
        let run = |config: Value| {
            let out = tempfile::tempdir().unwrap();
            merge(of(config), world.path(), out.path()).unwrap();
            TensorFile::open(&out.path().join("model.safetensors")).unwrap().get("w").unwrap().to_f32()
        };
        let read = |name: &str| TensorFile::open(&world.path().join(name).join("model.safetensors")).unwrap().get("w").unwrap().to_f32();
        let model = |name: &str, weight: f64, density: f64| json!({"model": name, "parameters": {"weight": weight, "density": density}});
        let plain = |name: &str, weight: f64| json!({"model": name, "parameters": {"weight": weight}});
        // The ends of a slerp are the models.
        for (t, end) in [(0.0, "base"), (1.0, "x")] {
            prop_assert_eq!(run(json!({"merge_method": "slerp", "base_model": "base", "models": [{"model": "x"}], "parameters": {"t": t}})), read(end));
        }
        // Weights go with their models.
        let pair = |first, second| run(json!({"merge_method": "task_arithmetic", "base_model": "base", "models": [first, second]}));
        prop_assert_eq!(pair(plain("x", w), plain("y", 0.25)), pair(plain("y", 0.25), plain("x", w)));
        // All of the differences is the dense form, and a sum of nothing is the base.
        let method = |method: &str, models: Value| run(json!({"merge_method": method, "base_model": "base", "models": models, "parameters": {"normalize": false}}));
        for sparse in ["dare_linear", "breadcrumbs", "della_linear"] {
            let dense = method("task_arithmetic", json!([plain("x", w), plain("y", 0.25)]));
            prop_assert_eq!(method(sparse, json!([model("x", w, 1.0), model("y", 0.25, 1.0)])), dense);
        }
        prop_assert_eq!(method("ties", json!([model("x", w, 0.0)])), read("base"));
        // Of one model, signs cannot disagree.
        prop_assert_eq!(method("ties", json!([plain("x", w)])), method("task_arithmetic", json!([plain("x", w)])));
        // A merge with itself is itself.
        prop_assert_eq!(run(json!({"merge_method": "linear", "models": [plain("x", 1.0)]})), read("x"));
    }

    #[test]
    fn no_configuration_breaks_the_reader(text in "[-:{}\\[\\]&*!|>'\"%@`,?#~ \n\ta-z0-9_$<=.]{0,160}", line in 0..18_usize, cut in 0..30_usize) {
        let _ = merge_file::read(&text);
        let mut lines: Vec<String> = SLERP.lines().map(str::to_owned).collect();
        let at = line % lines.len();
        let keep: String = lines[at].chars().take(cut).collect();
        lines[at] = format!("{keep}{text}");
        let broken = lines.join("\n");
        if let Err(diagnostics) = merge_file::read(&broken) {
            for diagnostic in diagnostics {
                prop_assert!(broken.get(diagnostic.span.0..diagnostic.span.1).is_some());
            }
        }
    }

    /// Headers that lie, bytes turned around, files cut short: an error or a merge, never a crash.
    #[test]
    fn hostile_weights_are_refused(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), shorten in any::<bool>()) {
        let world = tempfile::tempdir().unwrap();
        tiny(&world.path().join("good"), &[1.0, 2.0, 3.0]);
        tiny(&world.path().join("bad"), &[1.0, 2.0, 3.0]);
        let path = world.path().join("bad/model.safetensors");
        let mut bytes = fs_err::read(&path).unwrap();
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs_err::write(&path, bytes).unwrap();
        let config = json!({"merge_method": "linear", "models": [
            {"model": "good", "parameters": {"weight": 0.5}}, {"model": "bad", "parameters": {"weight": 0.5}}]});
        let out = tempfile::tempdir().unwrap();
        if merge(of(config), world.path(), out.path()).is_ok() {
            prop_assert_eq!(model_tensors(out.path()).unwrap().get("w").unwrap().count(), 3);
        }
    }
}
