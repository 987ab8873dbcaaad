//! What holds of the engine under every method: threads, bounds, frozen layers, and files that lie.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::path::Path;

use luthflow::spec::params::{Amount, MergeParams};
use luthflow::tensor::{Dtype, TensorFile, model_tensors};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::merge::model;
use crate::merge_parity::merge;

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin() + (i as f32 * 0.37).cos() * 0.3).collect()
}

fn config(method: &str, dtype: &str) -> Value {
    let models = match method {
        "passthrough" => json!([{"model": "a"}]),
        "slerp" | "nearswap" | "arcee_fusion" => json!([{"model": "a"}, {"model": "base"}]),
        "nuslerp" => {
            json!([{"model": "a", "parameters": {"weight": 0.4}}, {"model": "b", "parameters": {"weight": 0.6}}])
        }
        "karcher" | "model_stock" | "ram" | "ramplus_tl" | "sce" => json!([{"model": "a"}, {"model": "b"}]),
        "linear" | "multislerp" | "task_arithmetic" => {
            json!([{"model": "a", "parameters": {"weight": 0.4}}, {"model": "b", "parameters": {"weight": 0.7}}])
        }
        _ => json!([
            {"model": "a", "parameters": {"weight": 0.4, "density": 0.5}},
            {"model": "b", "parameters": {"weight": 0.7, "density": 0.3}},
        ]),
    };
    let mut config = json!({"merge_method": method, "models": models, "dtype": dtype});
    if !matches!(method, "linear" | "karcher" | "passthrough") {
        config["base_model"] = "base".into();
    }
    match method {
        "slerp" | "nearswap" => config["parameters"] = json!({"t": 0.3}),
        "sce" => config["parameters"] = json!({"select_topk": 0.4}),
        "nuslerp" => config["parameters"] = json!({"nuslerp_flatten": false, "nuslerp_row_wise": true}),
        "model_stock" => config["parameters"] = json!({"filter_wise": true}),
        _ => {}
    }
    config
}

fn params(config: &Value) -> MergeParams {
    MergeParams::of_config(serde_json::from_value(config.clone()).unwrap())
}

const METHODS: [&str; 20] = [
    "linear",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "model_stock",
    "sce",
    "ram",
    "ramplus_tl",
    "nearswap",
    "arcee_fusion",
    "passthrough",
];

fn weight_bytes(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("model.safetensors")).unwrap()
}

/// Models of several slabs, several tables of magnitudes, and tensors of one number.
fn three_models(root: &Path) {
    let (matrix, vector): (&[usize], &[usize]) = (&[700, 900], &[300_001]);
    for (name, step) in [("base", 0.001), ("a", 0.00101), ("b", 0.00098)] {
        let tensors = [
            ("m.0.w", matrix, wave(630_000, step)),
            ("m.1.v", vector, wave(300_001, step)),
            ("z", &[1_usize][..], vec![step]),
        ];
        model(&root.join(name), Dtype::BF16, &tensors);
    }
}

#[test]
fn threads_and_bounds_leave_no_trace_in_any_method() {
    let world = tempfile::tempdir().unwrap();
    three_models(world.path());
    for method in METHODS {
        let run = |threads: usize, memory: Option<Amount>| {
            let out = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let params = MergeParams { memory, ..params(&config(method, "bfloat16")) };
            pool.install(|| merge(params, world.path(), out.path())).unwrap();
            weight_bytes(out.path())
        };
        let one = run(1, None);
        assert!(one == run(2, None) && one == run(5, None), "{method}");
        assert!(one == run(2, Some(Amount::Text("64MB".into()))), "{method}");
    }
}

#[test]
fn a_bound_that_is_too_low_is_refused_with_what_it_takes() {
    let world = tempfile::tempdir().unwrap();
    three_models(world.path());
    let out = world.path().join("out");
    let params = MergeParams { memory: Some(Amount::Bytes(1_000_000)), ..params(&config("ties", "bfloat16")) };
    let error = merge(params, world.path(), &out).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`memory` is 1 MB, and tensor `m.0.w` takes"), "{message}");
    assert!(error.way_out().unwrap().contains("MB"), "{error}");
    assert!(!out.join("model.safetensors").exists());
}

/// The same draws fall on the tensors after a frozen one, and a frozen one is what it would be if it were looked at.
#[test]
fn frozen_layers_are_passed_over_without_a_trace() {
    let world = tempfile::tempdir().unwrap();
    let shape: &[usize] = &[70, 100];
    let same = wave(7000, 0.01);
    let mut nearly = same.clone();
    nearly[6999] += 0.25;
    let tensors = |first: &[f32], step: f32| [("a.w", shape, first.to_vec()), ("b.w", shape, wave(7000, step))];
    model(&world.path().join("base"), Dtype::BF16, &tensors(&same, 0.02));
    model(&world.path().join("b"), Dtype::BF16, &tensors(&wave(7000, 0.011), 0.0205));
    for method in ["ties", "dare_ties", "dare_linear", "della", "breadcrumbs"] {
        let merged = [&same, &nearly].map(|first| {
            model(&world.path().join("a"), Dtype::BF16, &tensors(first, 0.021));
            let out = tempfile::tempdir().unwrap();
            merge(params(&config(method, "bfloat16")), world.path(), out.path()).unwrap();
            let tensors = model_tensors(out.path()).unwrap();
            ["a.w", "b.w"].map(|name| tensors.get(name).unwrap().to_f32())
        });
        assert!(merged[0][1] == merged[1][1], "{method}: the draws are those after the frozen layer");
        // Only `della` and the rescaled ones look at a single number from elsewhere in the tensor, and there is none.
        let differ = merged[0][0].iter().zip(&merged[1][0]).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert!(differ <= 1, "{method}: {differ}");
    }
}

#[test]
fn numbers_that_are_none_are_an_error_except_where_they_are_only_copied() {
    let world = tempfile::tempdir().unwrap();
    let shape: &[usize] = &[3];
    for name in ["base", "a", "b"] {
        model(&world.path().join(name), Dtype::F32, &[("w", shape, vec![1.0, f32::NAN, 2.0])]);
    }
    for method in METHODS {
        let out = tempfile::tempdir().unwrap();
        let merged = merge(params(&config(method, "float32")), world.path(), out.path());
        if method == "passthrough" {
            merged.unwrap();
            assert!(weight_bytes(out.path()) == weight_bytes(&world.path().join("a")));
        } else {
            let error = merged.map(|_| method).unwrap_err();
            assert!(error.to_string().contains("tensor `w`"), "{method}: {error}");
        }
    }
}

#[test]
fn tensors_without_numbers_are_merged_to_such() {
    let world = tempfile::tempdir().unwrap();
    for name in ["base", "a", "b"] {
        model(&world.path().join(name), Dtype::F16, &[("none", &[0, 4], vec![]), ("w", &[2, 2], wave(4, 0.5))]);
    }
    for method in METHODS {
        let out = tempfile::tempdir().unwrap();
        merge(params(&config(method, "float16")), world.path(), out.path()).unwrap();
        let merged = model_tensors(out.path()).unwrap();
        assert_eq!(merged.get("none").unwrap().shape, [0, 4], "{method}");
        assert_eq!(merged.get("w").unwrap().count(), 4, "{method}");
    }
}

/// Far too many for anything that looks at all of them for each of them.
#[test]
fn twenty_thousand_layers_are_merged_and_sliced() {
    let world = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..20_000).map(|i| format!("m.layers.{i}.w")).collect();
    for name in ["a", "b"] {
        let tensors: Vec<(&str, &[usize], Vec<f32>)> =
            names.iter().map(|name| (name.as_str(), &[2_usize][..], vec![1.0, 2.0])).collect();
        model(&world.path().join(name), Dtype::BF16, &tensors);
    }
    let sources = |range: [usize; 2]| json!({"sources": [{"model": "a", "layer_range": range}]});
    let slices = json!({"merge_method": "passthrough", "slices": [sources([0, 15_000]), sources([5_000, 20_000])], "dtype": "bfloat16"});
    for (config, count) in [(config("linear", "bfloat16"), 20_000), (slices, 30_000)] {
        let out = tempfile::tempdir().unwrap();
        merge(params(&config), world.path(), out.path()).unwrap();
        assert_eq!(model_tensors(out.path()).unwrap().names().count(), count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A file that was damaged anywhere is refused, or merged to a file that is whole.
    #[test]
    fn damaged_files_give_an_error_or_a_whole_file(
        method in 0..METHODS.len(),
        hits in prop::collection::vec((0.0..1.0_f64, any::<u8>(), any::<bool>()), 1..6),
        cut in prop::option::of(0.0..1.0_f64),
    ) {
        let world = tempfile::tempdir().unwrap();
        for name in ["base", "a", "b"] {
            let step = name.len() as f32 * 0.1;
            let tensors = [("m.0.w", &[8_usize, 9][..], wave(72, step)), ("m.1.v", &[33_usize][..], wave(33, step))];
            model(&world.path().join(name), Dtype::BF16, &tensors);
        }
        let path = world.path().join("a/model.safetensors");
        let mut bytes = fs_err::read(&path).unwrap();
        for (place, byte, in_header) in hits {
            let most = if in_header { bytes.len().min(200) } else { bytes.len() };
            bytes[(place * most as f64) as usize] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| (cut * bytes.len() as f64) as usize));
        fs_err::write(&path, bytes).unwrap();
        let out = tempfile::tempdir().unwrap();
        if merge(params(&config(METHODS[method], "bfloat16")), world.path(), out.path()).is_ok() {
            let merged = TensorFile::open(&out.path().join("model.safetensors")).unwrap();
            let copied = METHODS[method] == "passthrough";
            for name in merged.names() {
                prop_assert!(copied || merged.get(name).unwrap().to_f32().iter().all(|number| number.is_finite()));
            }
        }
    }
}
