//! Merges against those of MergeKit 0.1.5 (`tests/fixtures/mergekit`), and what holds of every merge.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use luthflow::ops::{InputArtifact, Inputs, OpError, Outcome};
use luthflow::spec::params::{InputRef, MergeMethod, MergeModel, MergeParameters, MergeParams, Setting};
use luthflow::tensor::{Declared, Dtype, TensorFile, TensorWriter};
use proptest::prelude::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mergekit")
}

fn input(path: &Path) -> Vec<InputArtifact> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    vec![InputArtifact {
        label: name.clone(),
        name,
        axes: BTreeMap::new(),
        path: path.to_owned(),
        digest: None,
        chosen: false,
    }]
}

fn merge(method: MergeMethod, parameters: MergeParameters, models: &[&Path], out: &Path) -> Result<Outcome, OpError> {
    let mut inputs = Inputs::default();
    inputs.0.insert("base".into(), input(models[0]));
    for (i, model) in models[1..].iter().enumerate() {
        inputs.0.insert(format!("models[{i}]"), input(model));
    }
    let names = models[1..].iter().map(|_| MergeModel::default()).collect();
    let params = MergeParams {
        method: Some(method),
        base: Some(InputRef::default()),
        models: names,
        parameters: Some(parameters),
        shard_size: 5_000_000_000,
        ..MergeParams::default()
    };
    crate::merge_parity::run(params, &inputs, out)
}

fn t(t: f64) -> MergeParameters {
    MergeParameters { t: Some(Setting(t.into())), ..MergeParameters::default() }
}

fn weights(weights: &[f64]) -> MergeParameters {
    MergeParameters {
        weights: Some(weights.iter().map(|weight| Setting((*weight).into())).collect()),
        ..MergeParameters::default()
    }
}

fn weight_bytes(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("model.safetensors")).unwrap()
}

/// Writes a model folder of the given tensors.
pub(crate) fn model(dir: &Path, dtype: Dtype, tensors: &[(&str, &[usize], Vec<f32>)]) -> PathBuf {
    fs_err::create_dir_all(dir).unwrap();
    let declared: Vec<Declared> = tensors
        .iter()
        .map(|(name, shape, _)| Declared { name: (*name).into(), dtype, shape: shape.to_vec() })
        .collect();
    let mut writer = TensorWriter::create(&dir.join("model.safetensors"), &declared).unwrap();
    for (name, _, numbers) in tensors {
        writer.write_f32(name, numbers).unwrap();
    }
    writer.finish().unwrap();
    dir.to_owned()
}

#[test]
fn linear_gives_the_bits_of_mergekit() {
    for dtype in ["f32", "bf16", "f16"] {
        let dir = fixtures().join(dtype);
        let out = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.join(name));
        let outcome = merge(MergeMethod::Linear, weights(&[0.6, 0.3, 0.2]), &[&a, &b, &c], out.path()).unwrap();
        let golden = fs_err::read(dir.join("linear.safetensors")).unwrap();
        assert!(weight_bytes(out.path()) == golden, "{dtype}: the files differ");
        assert_eq!(outcome.metrics["tensors"] as usize, 13);
    }
}

/// Compares a slerp with MergeKit's: how many numbers there are, how many differ, and the largest difference in units of
/// the last place of the larger parent. (Where the parents cancel, the last place of the result says nothing.)
fn compare_slerps(dtype: &str) -> (u32, u32, f32) {
    let dir = fixtures().join(dtype);
    let out = tempfile::tempdir().unwrap();
    let outcome = merge(MergeMethod::Slerp, t(0.35), &[&dir.join("base"), &dir.join("a")], out.path()).unwrap();
    let straight = outcome.metrics["straight_share"];
    assert!(straight > 0.0 && straight < 1.0, "both branches are compared: {straight}");
    let open = |path: PathBuf| TensorFile::open(&path).unwrap();
    let ours = open(out.path().join("model.safetensors"));
    let golden = open(dir.join("slerp.safetensors"));
    let parents = ["base", "a"].map(|name| open(dir.join(name).join("model.safetensors")));
    let epsilon = match golden.get("model.norm.weight").unwrap().dtype {
        Dtype::F16 => 2.0_f32.powi(-10),
        Dtype::BF16 => 2.0_f32.powi(-7),
        _ => f32::EPSILON,
    };
    let (mut total, mut differ, mut furthest) = (0, 0, 0.0_f32);
    for name in golden.names() {
        let read = |file: &TensorFile| file.get(name).unwrap().to_f32();
        let (x, y) = (read(&parents[0]), read(&parents[1]));
        for (i, (ours, golden)) in read(&ours).iter().zip(read(&golden)).enumerate() {
            total += 1;
            let same = ours.to_bits() == golden.to_bits();
            assert!(same || !name.ends_with("norm.weight"), "{name}: the chord has no reduction and is exact");
            differ += u32::from(!same);
            furthest = furthest.max((ours - golden).abs() / (x[i].abs().max(y[i].abs()) * epsilon));
        }
    }
    (total, differ, furthest)
}

/// In half precision a difference is a rounding that went the other way, and rare. In f32 it is common and no larger: the
/// f32 sums of torch put each coefficient up to one place from ours, and every number of that tensor with it.
#[test]
fn slerp_gives_the_numbers_of_mergekit_to_the_last_place() {
    for (dtype, share, places) in [("bf16", 0.001, 1.0), ("f16", 0.001, 1.0), ("f32", 1.0, 2.0)] {
        let (total, differ, furthest) = compare_slerps(dtype);
        assert!(f64::from(differ) <= share * f64::from(total), "{dtype}: {differ} of {total} differ");
        assert!(furthest <= places, "{dtype}: by up to {furthest} places");
    }
}

#[test]
fn the_ends_are_the_parents_bit_for_bit() {
    for method in [MergeMethod::Linear, MergeMethod::Slerp] {
        for dtype in ["f32", "bf16", "f16"] {
            let [base, a] = ["base", "a"].map(|name| fixtures().join(dtype).join(name));
            for (end, parent) in [(0.0, &base), (1.0, &a)] {
                let out = tempfile::tempdir().unwrap();
                merge(method, t(end), &[&base, &a], out.path()).unwrap();
                let read = |dir: &Path| TensorFile::open(&dir.join("model.safetensors")).unwrap();
                let (ours, theirs) = (read(out.path()), read(parent));
                assert!(ours.names().eq(theirs.names()));
                for name in ours.names() {
                    assert!(
                        ours.get(name).unwrap().bytes == theirs.get(name).unwrap().bytes,
                        "{method:?} {end} {name}"
                    );
                }
            }
        }
    }
}

#[test]
fn threads_leave_no_trace() {
    let world = tempfile::tempdir().unwrap();
    let wave = |step: f32| (0..300_001).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    let shape: &[usize] = &[300_001];
    let base = model(&world.path().join("base"), Dtype::BF16, &[("w", shape, wave(0.001))]);
    let other = model(&world.path().join("other"), Dtype::BF16, &[("w", shape, wave(0.0011))]);
    for method in [MergeMethod::Linear, MergeMethod::Slerp] {
        let results: Vec<Vec<u8>> = [1, 2, 3, 8]
            .into_iter()
            .map(|threads| {
                let out = tempfile::tempdir().unwrap();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| merge(method, t(0.3), &[&base, &other], out.path())).unwrap();
                weight_bytes(out.path())
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{method:?}");
    }
}

#[test]
fn a_type_is_the_base_s_and_the_files_beside_the_weights_are_copied() {
    let world = tempfile::tempdir().unwrap();
    let base = model(&world.path().join("base"), Dtype::BF16, &[("w", &[2], vec![1.0, 2.0])]);
    let other = model(&world.path().join("other"), Dtype::F32, &[("w", &[2], vec![3.0, 4.0])]);
    for name in ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "notes.txt"] {
        fs_err::write(base.join(name), name).unwrap();
        fs_err::write(other.join(name), "of the other").unwrap();
    }
    for (t_value, wanted) in [(0.5, [2.0, 3.0]), (1.0, [3.0, 4.0])] {
        let out = world.path().join(format!("out{t_value}"));
        merge(MergeMethod::Linear, t(t_value), &[&base, &other], &out).unwrap();
        let view = TensorFile::open(&out.join("model.safetensors")).unwrap();
        assert_eq!(view.get("w").unwrap().dtype, Dtype::BF16);
        assert_eq!(view.get("w").unwrap().to_f32(), wanted);
        assert_eq!(fs_err::read_to_string(out.join("config.json")).unwrap(), "config.json");
        assert_eq!(fs_err::read_to_string(out.join("tokenizer.json")).unwrap(), "tokenizer.json");
        assert!(out.join("generation_config.json").exists() && out.join("chat_template.jinja").exists());
        assert!(!out.join("notes.txt").exists());
    }
}

#[test]
fn one_error_lists_all_that_differs() {
    let world = tempfile::tempdir().unwrap();
    let (vector, matrix) = ([1_usize], [2_usize, 1]);
    let base = model(
        &world.path().join("base"),
        Dtype::F32,
        &[("a", &vector, vec![1.0]), ("b", &vector, vec![1.0]), ("c", &vector, vec![1.0])],
    );
    let other = model(
        &world.path().join("other"),
        Dtype::F32,
        &[("a", &vector, vec![1.0]), ("b", &matrix, vec![1.0, 2.0]), ("d", &vector, vec![1.0])],
    );
    let error = merge(MergeMethod::Slerp, t(0.5), &[&base, &other], &world.path().join("out")).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    the models cannot be merged, 3 of their tensors differ:
      b: base [1], other [2, 1]
      c: base [1], other lacks it
      d: base lacks it, other [1]
    ");
}

#[test]
fn an_output_layer_on_one_side_only_is_explained() {
    let world = tempfile::tempdir().unwrap();
    let tied = model(&world.path().join("tied"), Dtype::F32, &[("w", &[1], vec![1.0])]);
    let untied =
        model(&world.path().join("untied"), Dtype::F32, &[("lm_head.weight", &[1], vec![1.0]), ("w", &[1], vec![1.0])]);
    let error = merge(MergeMethod::Linear, t(0.5), &[&tied, &untied], &world.path().join("out")).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"the models cannot be merged: `untied` stores an output layer of its own (`lm_head.weight`), `tied` shares the embedding's");
    assert!(error.way_out().unwrap().contains("tie_word_embeddings"));
}

#[test]
fn numbers_that_overflow_are_an_error_that_names_the_tensor() {
    let world = tempfile::tempdir().unwrap();
    let base = model(&world.path().join("base"), Dtype::F16, &[("w", &[1], vec![1.0])]);
    let other = model(&world.path().join("other"), Dtype::F32, &[("w", &[1], vec![1e6])]);
    let error = merge(MergeMethod::Linear, t(0.5), &[&base, &other], &world.path().join("out")).unwrap_err();
    assert!(error.to_string().contains("tensor `w`"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_model_merged_with_itself_is_itself(numbers in prop::collection::vec(-1e3_f32..1e3, 1..100), at in 0.0..1.0_f64) {
        let world = tempfile::tempdir().unwrap();
        let shape = [numbers.len()];
        for (dtype, tolerance) in [(Dtype::F32, 4.0 * f32::EPSILON), (Dtype::BF16, 0.0), (Dtype::F16, 0.0)] {
            let base = model(&world.path().join("base"), dtype, &[("w", &shape, numbers.clone())]);
            let before = TensorFile::open(&base.join("model.safetensors")).unwrap().get("w").unwrap().to_f32();
            for method in [MergeMethod::Linear, MergeMethod::Slerp] {
                let out = world.path().join("out");
                merge(method, t(at), &[&base, &base], &out).unwrap();
                let after = TensorFile::open(&out.join("model.safetensors")).unwrap().get("w").unwrap().to_f32();
                for (before, after) in before.iter().zip(&after) {
                    prop_assert!((before - after).abs() <= tolerance * before.abs(), "{dtype} {method:?} {before} {after}");
                }
            }
        }
    }
}
