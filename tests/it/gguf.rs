//! GGUF files in and out, against what llama.cpp's own converter makes of models that transformers saved
//! (`tests/fixtures/gguf`, `make.py` beside them). Whether llama.cpp runs what is written is asked by `check_llama.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use luthflow::data::Tokenizer;
use luthflow::gguf::{Block, GgufFile};
use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use luthflow::tensor::{ModelTensors, TensorFile, model_tensors};
use serde_json::{Value, json};

use crate::op::{Ran, inputs, repository, run, run_with};
use crate::world::World;

/// Every fixture. `smollm` is a Llama as SmolLM2 is one, `llama` one with biases and stretched rotary embedding.
const MODELS: [&str; 6] = ["llama", "smollm", "qwen2", "qwen3", "lfm2", "gemma3"];

/// A change of a JSON file.
type Change = fn(&mut Value);

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures/gguf").join(name)
}

/// Imports a file as a source node does.
pub(crate) fn import(path: &Path, dtype: &str) -> Result<Ran, OpError> {
    let files = inputs(&[("files", "model.gguf", path)]);
    run(Kind::Source, json!({"model": "model.gguf", "dtype": dtype}), &files)
}

fn export(folder: &Path, kind: &str) -> Result<Ran, OpError> {
    run(Kind::Export, json!({"model": "model", "type": kind}), &inputs(&[("model", "model", folder)]))
}

/// The names, shapes and numbers of all weights.
fn weights(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let tensors: ModelTensors = model_tensors(folder).unwrap();
    let read = |name: &str| {
        let view = tensors.get(name).unwrap();
        (name.to_owned(), (view.shape.to_vec(), view.to_f32().into_iter().map(f32::to_bits).collect()))
    };
    tensors.names().map(read).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn a_file_of_llama_cpp_becomes_the_model_it_was_made_of() {
    for name in MODELS {
        let ran = import(&fixture(name).join("model.gguf"), "f32").unwrap();
        assert_eq!(weights(ran.path()), weights(&fixture(name)), "{name}");
        let (ours, theirs) =
            (read_json(&ran.path().join("config.json")), read_json(&fixture(name).join("config.json")));
        for key in [
            "architectures",
            "model_type",
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
            "tie_word_embeddings",
            "eos_token_id",
            "pad_token_id",
            "rms_norm_eps",
            "norm_eps",
            "conv_L_cache",
            "sliding_window",
            "query_pre_attn_scalar",
            "attention_bias",
            "mlp_bias",
        ] {
            let either = (&ours[key], &theirs[key]);
            assert!(either.0 == either.1 || either.0.is_null() || either.1.is_null(), "{name}: {key}: {either:?}");
        }
        if !theirs["layer_types"].is_null() && matches!(name, "lfm2" | "gemma3") {
            assert_eq!(ours["layer_types"], theirs["layer_types"], "{name}");
        }
        let rope = &theirs["rope_parameters"];
        let theta = rope.get("full_attention").unwrap_or(rope)["rope_theta"].as_f64();
        assert_eq!(ours["rope_theta"].as_f64(), theta, "{name}");
        assert_eq!(ours["rope_scaling"].is_null(), name != "llama", "{name}");
    }
    let llama = import(&fixture("llama").join("model.gguf"), "f32").unwrap();
    let expected = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192});
    assert_eq!(read_json(&llama.path().join("config.json"))["rope_scaling"], expected);
    let lfm2 = read_json(&import(&fixture("lfm2").join("model.gguf"), "f32").unwrap().path().join("config.json"));
    assert_eq!((&lfm2["block_ff_dim"], &lfm2["block_auto_adjust_ff_dim"]), (&json!(40), &json!(false)));
}

#[test]
fn the_rebuilt_tokenizer_gives_the_same_tokens() {
    for name in MODELS {
        let ran = import(&fixture(name).join("model.gguf"), "bf16").unwrap();
        let tokenizer = Tokenizer::load(ran.path()).unwrap();
        let raw = tokenizers::Tokenizer::from_file(ran.path().join("tokenizer.json")).unwrap();
        for entry in read_json(&fixture(name).join("tokens.json")).as_array().unwrap() {
            let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
            let text = entry[0].as_str().unwrap();
            assert_eq!(tokenizer.encode_with_control(text).unwrap(), ids(&entry[1]), "{name}: {text:?}");
            // As transformers calls it: with what goes in front of every text.
            assert_eq!(raw.encode(text, true).unwrap().get_ids(), ids(&entry[2]), "{name}: {text:?}");
        }
    }
}

#[test]
fn template_and_ends_of_turns_are_carried_over() {
    for name in MODELS {
        let ran = import(&fixture(name).join("model.gguf"), "bf16").unwrap();
        let config = read_json(&ran.path().join("tokenizer_config.json"));
        let original = read_json(&fixture(name).join("tokenizer_config.json"));
        for key in ["chat_template", "eos_token", "pad_token"] {
            assert_eq!(config[key], original[key], "{name}: {key}");
        }
        let ends = &read_json(&ran.path().join("generation_config.json"))["eos_token_id"];
        let expected = if name == "gemma3" { json!([1, 5]) } else { json!(299) };
        assert_eq!(*ends, expected, "{name}");
    }
}

#[test]
fn what_is_exported_is_what_llama_cpps_converter_writes() {
    for name in MODELS {
        let ours = export(&fixture(name), "f32").unwrap();
        let back = |path: &Path| files(import(path, "f32").unwrap().path());
        assert_eq!(back(&ours.path().join("model.gguf")), back(&fixture(name).join("model.gguf")), "{name}");
        let ours = GgufFile::open(&ours.path().join("model.gguf")).unwrap();
        let theirs = GgufFile::open(&fixture(name).join("model.gguf")).unwrap();
        for tensor in theirs.tensors() {
            assert_eq!(ours.tensor(tensor), theirs.tensor(tensor), "{name}: {tensor}");
        }
        assert_eq!(ours.tensors().count(), theirs.tensors().count());
    }
}

#[test]
fn there_and_back_is_the_same_model() {
    for name in MODELS {
        for dtype in ["f32", "bf16"] {
            let first = import(&fixture(name).join("model.gguf"), dtype).unwrap();
            let second = import(&export(first.path(), "f32").unwrap().path().join("model.gguf"), dtype).unwrap();
            assert_eq!(files(first.path()), files(second.path()), "{name} {dtype}");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    for kind in ["f16", "q8_0", "q4_k_m"] {
        let folder = fixture("gemma3");
        let slots = inputs(&[("model", "model", &folder)]);
        let once = |threads| run_with(threads, Kind::Export, json!({"model": "m", "type": kind}), &slots).unwrap();
        assert_eq!(files(once(1).path()), files(once(3).path()), "{kind}");
    }
}

#[test]
fn formats_differ_where_they_should() {
    let counts = |name: &str, kind: &str| {
        let ran = export(&fixture(name), kind).unwrap();
        let file = GgufFile::open(&ran.path().join("model.gguf")).unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for tensor in file.tensors() {
            *counts.entry(file.tensor(tensor).unwrap().0.name()).or_default() += 1;
        }
        for (block, count) in &counts {
            assert_eq!(ran.count(&format!("tensors.{block}")), *count);
        }
        counts
    };
    // Seven matrices in each of two layers, and the embedding. Rows of 16 numbers fill no block; those of 32 do.
    assert_eq!(counts("smollm", "f32"), [("F32", 20)].into());
    assert_eq!(counts("smollm", "bf16"), [("F32", 5), ("BF16", 15)].into());
    assert_eq!(counts("smollm", "f16"), [("F32", 5), ("F16", 15)].into());
    assert_eq!(counts("smollm", "q8_0"), [("F32", 5), ("F16", 13), ("Q8_0", 2)].into());
    assert_eq!(counts("llama", "q4_k_m")["Q8_0"], 1, "the last ffn_down, for Q6_K");
    assert_eq!(Block::Q4K.name(), "Q4_K");
}

/// Says another number of layers, and leaves their kinds to follow from it.
fn with_layers(config: &mut Value, count: usize) {
    config["num_hidden_layers"] = json!(count);
    config.as_object_mut().unwrap().remove("layer_types");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        for (file, bytes) in files(&fixture(name)) {
            fs::write(folder.path().join(file), bytes).unwrap();
        }
    };
    let refused = |file: &str, change: &dyn Fn(&mut Value)| {
        let path = folder.path().join(file);
        let mut value = read_json(&path);
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        export(folder.path(), "f16").err().map(|error| error.chain().join(": ")).unwrap_or_default()
    };
    let cases: [(&str, &str, Change, &str); 11] = [
        ("qwen3", "config.json", |c| c["model_type"] = json!("mamba"), "`model_type` is mamba; only llama,"),
        ("qwen3", "config.json", |c| c["use_sliding_window"] = json!(true), "`use_sliding_window` is true"),
        ("qwen3", "config.json", |c| c["hidden_act"] = json!("gelu"), "`hidden_act` is \"gelu\""),
        (
            "qwen3",
            "config.json",
            |c| c["vocab_size"] = json!(299),
            "its shape is [302, 16], and config.json asks for [299, 16]",
        ),
        ("qwen3", "config.json", |c| with_layers(c, 3), "`model.layers.2.self_attn.q_proj.weight`"),
        ("qwen3", "config.json", |c| with_layers(c, 1), "it has no place in a qwen3 model"),
        (
            "qwen3",
            "config.json",
            |c| c["head_dim"] = json!(16),
            "its shape is [32, 16], and config.json asks for [64, 16]",
        ),
        ("llama", "config.json", |c| c["rope_parameters"]["rope_type"] = json!("yarn"), "the rope scaling `yarn`"),
        ("lfm2", "config.json", |c| c["conv_bias"] = json!(true), "`conv_bias` is true"),
        ("gemma3", "config.json", |c| c["query_pre_attn_scalar"] = json!(9), "`query_pre_attn_scalar` is 9"),
        ("qwen2", "tokenizer.json", |t| t["pre_tokenizer"] = Value::Null, "its pre-tokenizer has no name in llama.cpp"),
    ];
    for (name, file, change, part) in cases {
        copy(name);
        let message = refused(file, &change);
        assert!(message.contains(part), "{name}, {part}: {message}");
    }
    copy("gemma3");
    let message = refused("tokenizer.json", &|value| {
        value["model"]["merges"].as_array_mut().unwrap().remove(0);
    });
    assert!(message.contains("its merges are not those of SentencePiece's BPE"), "{message}");
}

#[test]
fn weights_that_a_format_cannot_hold_are_refused() {
    use luthflow::tensor::{Declared, Dtype, TensorWriter};
    let folder = tempfile::tempdir().unwrap();
    for (file, bytes) in files(&fixture("smollm")) {
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    let original = TensorFile::open(&fixture("smollm").join("model.safetensors")).unwrap();
    let shape = |name: &str| original.get(name).unwrap().shape.to_vec();
    let declare = |name: &str| Declared { name: name.to_owned(), dtype: Dtype::F32, shape: shape(name) };
    let declared: Vec<Declared> = original.names().map(declare).collect();
    let mut writer = TensorWriter::create(&folder.path().join("model.safetensors"), &declared).unwrap();
    for name in original.names() {
        let mut numbers = original.get(name).unwrap().to_f32();
        if name == "model.layers.1.mlp.down_proj.weight" {
            numbers[7] = 70_000.0;
        }
        writer.write_f32(name, &numbers).unwrap();
    }
    writer.finish().unwrap();
    for kind in ["f16", "q8_0", "q4_k_m"] {
        let error = export(folder.path(), kind).err().unwrap().chain().join(": ");
        assert!(error.contains("`model.layers.1.mlp.down_proj.weight`") && error.contains("70000"), "{kind}: {error}");
    }
    let fits = export(folder.path(), "f32").unwrap();
    assert!(export(folder.path(), "bf16").is_ok());
    let error = import(&fits.path().join("model.gguf"), "f16").err().unwrap().chain().join(": ");
    assert!(error.contains("`blk.1.ffn_down.weight`") && error.contains("does not fit F16"), "{error}");
}

#[test]
fn a_pipeline_brings_a_file_in_and_writes_one() {
    let world = World::empty();
    fs::copy(fixture("qwen3").join("model.gguf"), world.path("tiny.gguf")).unwrap();
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  tiny: {kind: source, model: tiny.gguf}\n  out: {kind: export, model: tiny, type: q8_0, name: x}\n",
    );
    assert_eq!(world.run_ok(&[]).ran, ["tiny", "out"]);
    assert!(world.run_ok(&[]).ran.is_empty());
    assert_eq!(world.run(&["export", "out", "given"]).code, 0);
    assert!(GgufFile::open(&world.path("given/model.gguf")).is_ok());
    // The digest pins the file, and a setting that is not for it is refused.
    world.edit("tiny.gguf}", "tiny.gguf, digest: \"blake3:00\"}");
    assert!(world.run(&["check"]).stderr.contains("is no digest"));
    world.edit(", digest: \"blake3:00\"", &format!(", digest: \"blake3:{}\"", "0".repeat(64)));
    assert!(world.run(&["run"]).stderr.contains("blake3:"));
    world.write("pipeline.yaml", "version: 1\nnodes: {a: {kind: source, model: text.gguf}}\n");
    world.write("text.gguf", "no model");
    let ran = world.run(&["run"]);
    assert!(ran.code != 0 && ran.stderr.contains("a model is a GGUF file, or a folder"), "{}", ran.stderr);
}
