//! What merges do beside arithmetic: types, missing tensors, modules, templates, files that are refused, all methods alike.

use std::collections::BTreeMap;
use std::path::Path;

use luthflow::data::{Ending, Message, Tokenizer};
use luthflow::ops::OpError;
use luthflow::spec::params::{Kind, MergeConfig, MergeParams, Op, Precision};
use luthflow::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, model_tensors};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::merge_parity::{merge, parity};
use crate::world::World;

fn of(config: Value) -> MergeParams {
    MergeParams::of_config(serde_json::from_value::<MergeConfig>(config).unwrap())
}

fn merged_in(params: MergeParams, root: &Path) -> Result<tempfile::TempDir, OpError> {
    let out = tempfile::tempdir().unwrap();
    merge(params, root, out.path()).map(|_| out)
}

fn weights(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("model.safetensors")).unwrap()
}

/// Writes a model of tensors that are all of one type; numbers are made from the name and the seed.
fn model(dir: &Path, dtype: Dtype, seed: f32, names: &[&str], config: &Value) {
    fs_err::create_dir_all(dir).unwrap();
    let declared: Vec<Declared> =
        names.iter().map(|name| Declared { name: (*name).into(), dtype, shape: vec![4, 3] }).collect();
    let writer = ShardedWriter::create(dir, &declared, 1 << 30).unwrap();
    for (i, name) in names.iter().enumerate() {
        let numbers: Vec<f32> = (0..12).map(|j| (seed + name.len() as f32 * 0.7 + j as f32).sin()).collect();
        let mut bytes = vec![0; 12 * dtype.size()];
        dtype.write_f32(&numbers, &mut bytes);
        writer.write_at(i, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    fs_err::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// Every method with settings under which nothing is left to chance.
fn methods() -> Vec<(&'static str, Value)> {
    let others = |extra: Value| {
        let model = |name: &str, weight: f64| {
            let mut parameters = extra.clone();
            parameters["weight"] = weight.into();
            json!({"model": format!("bf16/{name}"), "parameters": parameters})
        };
        json!([model("a", 0.57), model("b", 0.32)])
    };
    let plain = json!([{"model": "bf16/a"}, {"model": "bf16/b"}]);
    let one = json!([{"model": "bf16/a"}]);
    let base = |method: &'static str, models: Value, parameters: Value| {
        let config =
            json!({"merge_method": method, "base_model": "bf16/base", "models": models, "parameters": parameters});
        (method, config)
    };
    let none = || json!({});
    let mut all = vec![
        ("linear", json!({"merge_method": "linear", "models": others(none())})),
        (
            "passthrough",
            json!({"merge_method": "passthrough", "models": [{"model": "bf16/a", "parameters": {"scale": 0.3}}]}),
        ),
        ("karcher", json!({"merge_method": "karcher", "models": plain})),
        base("slerp", one.clone(), json!({"t": 0.4})),
        base("nearswap", one.clone(), json!({"t": 0.001})),
        base("arcee_fusion", one, none()),
        base("nuslerp", others(none()), none()),
        base("multislerp", others(none()), none()),
        base("model_stock", plain.clone(), none()),
        base("sce", plain.clone(), none()),
        base("ram", plain.clone(), json!({"epsilon": 0.001})),
        base("ramplus_tl", plain, json!({"epsilon": 0.001})),
    ];
    for method in [
        "task_arithmetic",
        "ties",
        "dare_linear",
        "dare_ties",
        "breadcrumbs",
        "breadcrumbs_ties",
        "della",
        "della_linear",
    ] {
        all.push(base(method, others(json!({"density": 0.5})), none()));
    }
    all
}

fn tensors(dir: &Path) -> ModelTensors {
    model_tensors(dir).unwrap()
}

/// Single precision, rounded once, is what float64 gives, rounded once; rounding after every step is not.
#[test]
fn high_precision_is_that_of_every_method() {
    let methods = methods();
    assert_eq!(methods.len(), 20);
    for (method, config) in methods {
        let mut wide = config.clone();
        (wide["dtype"], wide["out_dtype"]) = ("float64".into(), "bfloat16".into());
        let mut narrow = config;
        narrow["out_dtype"] = "bfloat16".into();
        let truth = merged_in(of(wide), &parity()).unwrap();
        let high = merged_in(MergeParams { precision: Precision::High, ..of(narrow.clone()) }, &parity()).unwrap();
        let plain = if method == "multislerp" { None } else { Some(merged_in(of(narrow), &parity()).unwrap()) };
        let truth = tensors(truth.path());
        let differ = |dir: &Path| {
            let ours = tensors(dir);
            let wrong = |name: &str| {
                let (a, b) = (ours.get(name).unwrap(), truth.get(name).unwrap());
                assert_eq!(a.dtype, Dtype::BF16);
                a.to_f32().iter().zip(b.to_f32()).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
            };
            truth.names().map(wrong).sum::<usize>()
        };
        let total: usize = truth.names().map(|name| truth.get(name).unwrap().count()).sum();
        let far = differ(high.path());
        // The threshold of the fusion is one number of the tensor: what stands just there may fall on either side.
        let most = if method == "arcee_fusion" { total / 50 } else { total / 500 };
        assert!(far <= most, "{method}: {far} of {total}");
        if let Some(plain) = plain {
            assert!(differ(plain.path()) >= far, "{method}: {far}");
        }
    }
}

#[test]
fn a_model_merged_with_copies_of_itself_is_itself() {
    let root = tempfile::tempdir().unwrap();
    for name in ["base", "a", "b"] {
        fs_err::create_dir_all(root.path().join("bf16").join(name)).unwrap();
        for file in ["model.safetensors", "config.json"] {
            fs_err::copy(parity().join("bf16/a").join(file), root.path().join("bf16").join(name).join(file)).unwrap();
        }
    }
    let whole = weights(&root.path().join("bf16/a"));
    for (method, config) in methods() {
        // A scaled copy is none, a mean of directions is rounded, and weights that add up to 0.9 in f32 do not quite.
        if matches!(method, "passthrough" | "karcher" | "linear") {
            continue;
        }
        let out = merged_in(MergeParams { precision: Precision::High, ..of(config) }, root.path()).unwrap();
        assert!(weights(out.path()) == whole, "{method}");
    }
}

#[test]
fn weights_go_with_their_models_in_every_method() {
    for (method, config) in methods() {
        // Random draws are made in the order of the models.
        let random = method.starts_with("dare") || method.starts_with("della");
        if random || config["models"].as_array().unwrap().len() < 2 {
            continue;
        }
        let mut turned = config.clone();
        turned["models"].as_array_mut().unwrap().reverse();
        let [a, b] = [config, turned]
            .map(|config| merged_in(MergeParams { precision: Precision::High, ..of(config) }, &parity()).unwrap());
        let (a, b) = (tensors(a.path()), tensors(b.path()));
        let (mut differ, mut total) = (0, 0);
        for name in a.names() {
            let (x, y) = (a.get(name).unwrap().to_f32(), b.get(name).unwrap().to_f32());
            total += x.len();
            differ += x.iter().zip(&y).filter(|(x, y)| x.to_bits() != y.to_bits()).count();
        }
        // Sums in another order may round the other way once in a while.
        assert!(differ * 1000 <= total, "{method}: {differ} of {total}");
    }
}

#[test]
fn modules_are_merged_each_in_its_own_way() {
    let root = tempfile::tempdir().unwrap();
    let names = ["text.layers.0.w", "text.layers.1.w", "text.norm", "eye.layers.0.w", "lm_head.weight"];
    let config = json!({"text_config": {"num_hidden_layers": 2, "layer_types": ["full", "slide"]}, "vision_config": {"num_hidden_layers": 1}});
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        model(&root.path().join(name), Dtype::F32, i as f32, &names, &config);
    }
    let half = json!([{"model": "a", "parameters": {"weight": 1}}, {"model": "b", "parameters": {"weight": 1}}]);
    let eye = json!({"prefixes": ["eye."], "models": [{"model": "a", "parameters": {"weight": 1}}]});
    let modules = json!({"text": {"prefixes": ["text.", "lm_head."], "models": half}, "eye": eye});
    let params = of(json!({"merge_method": "linear", "modules": modules}));
    assert_eq!(Op::Merge(params.clone()).check(), []);
    let out = merged_in(params, root.path()).unwrap();
    let (a, b, ours) = (tensors(&root.path().join("a")), tensors(&root.path().join("b")), tensors(out.path()));
    let read = |model: &ModelTensors, name: &str| model.get(name).unwrap().to_f32();
    assert_eq!(read(&ours, "eye.layers.0.w"), read(&a, "eye.layers.0.w"));
    let mean: Vec<f32> =
        read(&a, "lm_head.weight").iter().zip(read(&b, "lm_head.weight")).map(|(a, b)| (a + b) / 2.0).collect();
    assert_eq!(read(&ours, "lm_head.weight"), mean);
    // Layers of one part only: its block of the configuration follows.
    let part = |model: &str, from: usize, to: usize| json!({"sources": [{"model": model, "layer_range": [from, to]}]});
    let text = json!({"prefixes": ["text.", "lm_head."], "slices": [part("a", 0, 2), part("b", 1, 2)]});
    let eye = json!({"prefixes": ["eye."], "models": [{"model": "a"}]});
    let params = of(json!({"merge_method": "passthrough", "modules": {"text": text, "eye": eye}}));
    let out = merged_in(params, root.path()).unwrap();
    let ours = tensors(out.path());
    assert_eq!(read(&ours, "text.layers.2.w"), read(&b, "text.layers.1.w"));
    let config: Value = serde_json::from_slice(&fs_err::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["text_config"], json!({"num_hidden_layers": 3, "layer_types": ["full", "slide", "slide"]}));
    assert_eq!(config["vision_config"], json!({"num_hidden_layers": 1}));
    // A tensor of no module, and a module of unknown tensors.
    let text = json!({"prefixes": ["text."], "models": [{"model": "a", "parameters": {"weight": 1}}]});
    let error = merged_in(of(json!({"merge_method": "linear", "modules": {"text": text}})), root.path()).unwrap_err();
    assert!(error.to_string().contains("2 tensors belong to no module: eye.layers.0.w, lm_head.weight"), "{error}");
    let two = json!({"text": {"models": [{"model": "a"}]}, "eye": {"models": [{"model": "a"}]}});
    let mistakes = Op::Merge(of(json!({"merge_method": "karcher", "modules": two}))).check();
    assert!(mistakes[0].message.contains("nothing says which tensors"), "{mistakes:?}");
}

#[test]
fn a_frankenmerge_of_lfm2_has_the_layers_it_says() {
    let root = tempfile::tempdir().unwrap();
    let kinds = ["conv", "conv", "full_attention"];
    let names: Vec<String> =
        kinds.iter().enumerate().map(|(i, kind)| format!("model.layers.{i}.{kind}.weight")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let config = json!({"model_type": "lfm2", "num_hidden_layers": 3, "layer_types": kinds, "full_attn_idxs": [2]});
    model(&root.path().join("a"), Dtype::BF16, 0.0, &names, &config);
    fs_err::write(root.path().join("a/generation_config.json"), "{\"temperature\": 0.3}").unwrap();
    let part = |from: usize, to: usize| json!({"sources": [{"model": "a", "layer_range": [from, to]}]});
    let config = json!({"merge_method": "passthrough", "slices": [part(1, 3), part(1, 3)]});
    let out = merged_in(of(config), root.path()).unwrap();
    let config: Value = serde_json::from_slice(&fs_err::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["num_hidden_layers"], 4);
    assert_eq!(config["layer_types"], json!(["conv", "full_attention", "conv", "full_attention"]));
    assert_eq!(config["full_attn_idxs"], json!([1, 3]));
    let kept = fs_err::read_to_string(out.path().join("generation_config.json")).unwrap();
    assert_eq!(kept, "{\"temperature\": 0.3}", "it is kept");
    // A convolution and an attention in one layer: MergeKit writes a layer that has both.
    fs_err::rename(root.path().join("a"), root.path().join("b")).unwrap();
    model(&root.path().join("a"), Dtype::BF16, 1.0, &names, &json!({"model_type": "lfm2"}));
    let source = |model: &str, from: usize| json!({"model": model, "layer_range": [from, from + 1], "parameters": {"weight": 1}});
    let mixed = json!({"merge_method": "linear", "slices": [{"sources": [source("a", 1), source("b", 2)]}]});
    let error = merged_in(of(mixed), root.path()).unwrap_err();
    assert!(error.to_string().contains("lacks it"), "{error}");
}

#[test]
fn the_first_model_donates_and_a_union_is_the_same_every_time() {
    let model = |name: &str| json!({"model": format!("tok/{name}"), "parameters": {"weight": 1}});
    let config =
        json!({"merge_method": "linear", "models": [model("b"), model("a"), model("c")], "tokenizer_source": "union"});
    let files = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let all: Vec<BTreeMap<&str, Vec<u8>>> = (0..3)
        .map(|_| {
            let out = merged_in(of(config.clone()), &parity()).unwrap();
            files.into_iter().map(|name| (name, fs_err::read(out.path().join(name)).unwrap())).collect()
        })
        .collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    let donor = json!({"merge_method": "linear", "models": [model("padded"), model("padded")]});
    assert!(!Op::Merge(of(donor)).check().is_empty(), "a model listed twice");
}

#[test]
fn templates_with_names_render_what_mergekits_render() {
    let path = parity().join("../templates.json");
    let cases: Vec<Value> = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
    let mut tokenizers = BTreeMap::new();
    for name in ["alpaca", "chatml", "exaone", "llama3", "mistral"] {
        let config = json!({"merge_method": "passthrough", "models": [{"model": "tok/base"}], "chat_template": name});
        assert_eq!(Op::Merge(of(config.clone())).check(), []);
        let out = merged_in(of(config), &parity()).unwrap();
        tokenizers.insert(name, Tokenizer::load(out.path()).unwrap());
    }
    for case in &cases {
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let tokenizer = &tokenizers[case["template"].as_str().unwrap()];
        let ending = if case["add_generation_prompt"] == true { Ending::Prompt } else { Ending::Whole };
        let ours = tokenizer.render_chat(&messages.into(), ending).ok().map(|rendered| rendered.text);
        assert_eq!(ours.as_deref(), case["text"].as_str(), "{case}");
    }
    assert!(cases.iter().filter(|case| case["text"].is_null()).count() > 5, "some are refused");
}

#[test]
fn a_pickle_is_refused_and_not_run() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a");
    fs_err::create_dir_all(&dir).unwrap();
    let trace = root.path().join("ran");
    // What `pickle` would do with this: os.system("touch …").
    let program = format!("cposix\nsystem\n(S'touch {}'\ntR.", trace.display());
    fs_err::write(dir.join("pytorch_model.bin"), program).unwrap();
    let config = json!({"merge_method": "passthrough", "models": [{"model": "a"}]});
    let error = merged_in(of(config), root.path()).unwrap_err();
    let text = error.chain().join(": ");
    assert!(text.contains("pytorch_model.bin") && text.contains("safetensors"), "{text}");
    assert!(!trace.exists());
}

fn copy_model(world: &World, name: &str, to: &str) {
    fs_err::create_dir_all(world.path(to)).unwrap();
    for entry in fs_err::read_dir(parity().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path(to).join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn own_fields_run_from_a_pipeline_and_can_be_swept() {
    let world = World::empty();
    for name in ["base", "a", "b"] {
        copy_model(&world, &format!("bf16/{name}"), &format!("models/{name}"));
    }
    let sources = "version: 1\nnodes:\n  base: {kind: source, model: models/base}\n  a: {kind: source, model: models/a}\n  b: {kind: source, model: models/b}\n";
    let node = "  merged: {kind: merge, method: ties, base: base, models: [{model: a, weight: 0.6, density: \"${d}\"}, {model: b, weight: 0.3}], parameters: {density: 0.4}}\n";
    world.write("pipeline.yaml", &format!("{sources}{node}sweep: {{d: [0.5, 0.7]}}\n"));
    assert_eq!(world.run_ok(&["pipeline.yaml"]).ran.len(), 5);
    let config = json!({"merge_method": "ties", "base_model": "bf16/base", "parameters": {"density": 0.4}, "models": [
        {"model": "bf16/a", "parameters": {"weight": 0.6, "density": 0.7}}, {"model": "bf16/b", "parameters": {"weight": 0.3}}]});
    let wanted = merged_in(of(config), &parity()).unwrap();
    let ran = world.run(&["export", "merged[d=0.7]", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(weights(&world.path("out")) == weights(wanted.path()));
    for (from, to, wanted) in [
        ("density: 0.4", "dencity: 0.4", "unknown field `dencity`"),
        ("weight: 0.3", "wieght: 0.3", "unknown field `wieght`"),
        ("{model: b, weight: 0.3}", "b", "`ties` needs the parameter `weight` for `b`"),
        ("{model: b, weight: 0.3}", "{model: a, weight: 0.3}", "`a` is listed twice"),
        ("{model: b, weight: 0.3}", "{model: base, weight: 0.3}", "`base` is the base"),
        ("{density: 0.4}", "{density: fast}", "expected a number"),
        ("{density: 0.4}", "{t: 0.4}", "`ties` has no parameter `t`"),
        ("{density: 0.4}", "{weights: [1]}", "1 weights for 2 models"),
        ("base: base, ", "", "needs the field `base`"),
        ("method: ties", "method: slerp", "`slerp` has no parameter `weight`"),
        ("method: ties,", "method: ties, compat: 0.1.4,", "`ties` is to be had as in 0.1.5 only"),
        ("method: ties,", "method: ties, compat: 0.1.3,", "cannot be `0.1.3`"),
    ] {
        assert!(node.contains(from), "{from}");
        world.write("wrong.yaml", &format!("{sources}{}sweep: {{d: [0.5]}}\n", node.replacen(from, to, 1)));
        let ran = world.run(&["check", "wrong.yaml"]);
        let flat: String = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.code != 0 && flat.contains(wanted), "{to}: {}", ran.stderr);
    }
}

#[test]
fn the_command_line_takes_the_older_arithmetic() {
    let world = World::empty();
    copy_model(&world, "bf16/a", "a");
    copy_model(&world, "bf16/b", "b");
    let models = "models: [{model: a, parameters: {weight: 0.6}}, {model: b, parameters: {weight: 0.3}}]\n";
    world.write("linear.yaml", &format!("merge_method: linear\n{models}"));
    for (compat, out) in [("0.1.4", "old"), ("0.1.5", "new")] {
        let ran = world.run(&["merge", "linear.yaml", out, "--compat", compat]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(weights(&world.path("old")) != weights(&world.path("new")));
    world.write("ties.yaml", &format!("merge_method: ties\nbase_model: a\n{models}"));
    let ran = world.run(&["merge", "ties.yaml", "out", "--compat", "0.1.4"]);
    assert!(ran.code == 2 && ran.stderr.contains("as in 0.1.5 only"), "{} {}", ran.code, ran.stderr);
}

/// Anything that may be written where a setting stands.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        "[a-z0-9.-]{0,6}".prop_map(Value::from),
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!([]),
            json!([0, 1]),
            json!([[1]]),
            json!([{"filter": "mlp", "value": [0, 1]}, {"value": 1}]),
            json!({"value": 0.5}),
            json!({"filter": 3}),
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Own fields are mistakes or a configuration without mistakes, never a crash.
    #[test]
    fn no_own_fields_break_the_check(
        method in prop::sample::select(methods().into_iter().map(|(name, _)| name).chain(["none"]).collect::<Vec<_>>()),
        base in prop::option::of(prop::sample::select(vec!["a", "b"])),
        models in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), prop::option::of((prop::sample::select(vec!["weight", "density", "gamma", "epsilon", "scale", "t"]), anything()))), 0..4),
        parameters in prop::collection::btree_map(prop::sample::select(vec!["t", "weights", "weight", "density", "lambda", "normalize", "max_iter", "epsilon", "nothing"]), anything(), 0..3),
        compat in prop::option::of(prop::sample::select(vec!["0.1.4", "0.1.5", "1"])),
    ) {
        let model = |(name, own): &(&str, Option<(&str, Value)>)| match own {
            Some((key, value)) => json!({"model": name, (*key): value}),
            None => json!(name),
        };
        let mut fields = json!({"method": method, "models": models.iter().map(model).collect::<Vec<_>>(), "parameters": parameters});
        for (key, value) in [("base", base), ("compat", compat)] {
            if let Some(value) = value {
                fields[key] = value.into();
            }
        }
        if let Ok(op) = Op::from_fields(Kind::Merge, &fields)
            && op.check().is_empty()
        {
            let Op::Merge(params) = op else { unreachable!() };
            let names: Vec<String> = (0..params.models.len() + usize::from(params.base.is_some())).map(|i| i.to_string()).collect();
            let config = params.as_config(&names).unwrap();
            if params.short().is_none() {
                let mistakes = Op::Merge(MergeParams::of_config(config)).check();
                prop_assert!(mistakes.is_empty(), "{fields} {mistakes:?}");
            }
        }
    }
}
