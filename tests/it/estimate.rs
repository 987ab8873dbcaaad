//! `luthflow plan --estimate`: what a run would cost, against what was published, what a run then counts, and what a reader sees.

use serde_json::Value;

use crate::op::repository;
use crate::world::World;

/// The estimate of one node.
fn node<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let nodes = plan["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name} is not in the plan"));
    &node["estimate"]
}

fn value(figure: &Value) -> f64 {
    figure["value"].as_f64().unwrap_or_else(|| panic!("{figure} is unknown"))
}

fn luth(model: &str) -> String {
    repository().join(format!("pipelines/luth/{model}.yaml")).to_str().unwrap().to_owned()
}

/// Runs the program where no hub may be asked.
fn offline(world: &World, args: &[&str]) -> crate::world::Ran {
    let output = world.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    crate::world::Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The facts of Luth reckon 6·N·tokens·4/3 at 400 TFLOP/s: 3.5 hours, 10, 2 to 3, 5 and 8. Held to within a quarter, and those of
/// LFM2 come out at the lower end: the facts have its tokenizer make more tokens of a text than Qwen3's, and it makes fewer.
#[test]
fn the_trainings_of_luth_take_the_hours_that_were_reckoned_for_them() {
    let world = World::empty();
    for (model, least, most, parameters) in [
        ("luth-0.6b", 3.5, 3.5, 596_049_920.0),
        ("luth-1.7b", 10.0, 10.0, 1_720_574_976.0),
        ("luth-lfm2-350m", 2.0, 3.0, 354_483_968.0),
        ("luth-lfm2-700m", 5.0, 5.0, 742_489_344.0),
        ("luth-lfm2-1.2b", 8.0, 8.0, 1_170_340_608.0),
    ] {
        let ran = offline(&world, &["plan", "--estimate", "--device", "h100", "--json", &luth(model)]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let sft = node(&plan, "sft");
        let hours = value(&sft["seconds"]) / 3600.0;
        assert!((least * 0.75..most * 1.25).contains(&hours), "{model}: {hours} h");
        let tokens = value(&sft["tokens"]);
        let rule = 6.0 * parameters * tokens * 4.0 / 3.0 / 400e12 / 3600.0;
        assert!((hours / rule - 1.0).abs() < 0.06, "{model}: {hours} h, and {rule} h by the rule");
        assert_eq!(sft["seconds"]["assumed"], true);
        // Weights of 16 bits, and a model for each epoch.
        assert!((value(&sft["disk"]) - 3.0 * 2.0 * parameters).abs() < 0.5);
        assert_eq!(plan["estimate"]["device"]["name"], "h100");
        assert!((value(&plan["estimate"]["total"]["seconds"]) / 3600.0) > hours);
    }
}

/// Steps an epoch are in the names of Luth's checkpoints: 880 for the 0.6B, 1356 for LFM2.
#[test]
fn the_steps_of_luth_come_out() {
    let world = World::empty();
    for (model, steps) in [("luth-0.6b", 3 * 880), ("luth-lfm2-1.2b", 3 * 1356)] {
        let ran = offline(&world, &["plan", "--estimate", "--device", "h100", "--json", &luth(model)]);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let what = node(&plan, "sft")["what"].as_str().unwrap().to_owned();
        assert!(what.ends_with(&format!(", {steps} steps")), "{model}: {what}");
    }
}

#[test]
fn a_luth_model_on_a_machine_where_nothing_is() {
    let world = World::empty();
    let ran = offline(&world, &["plan", "--estimate", "--device", "4090", "--bandwidth", "1Gbit", &luth("luth-1.7b")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("estimate_luth", ran.stdout);
}

#[test]
fn the_quickstart_before_it_runs() {
    let world = World::empty();
    let file = repository().join("pipelines/quickstart.yaml");
    let ran = world.run(&["plan", "--estimate", "--device", "m3-max", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("estimate_quickstart", ran.stdout);
}

#[test]
fn a_pipeline_before_and_after_its_run() {
    let world = World::new();
    let look = ["plan", "--estimate", "--device", "a100"];
    insta::assert_snapshot!("estimate_before", world.run(&look).stdout);
    world.run_ok(&[]);
    insta::assert_snapshot!("estimate_after", world.run(&look).stdout);
    // What is to be done anew rests on what is here: the data of the training is counted.
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    insta::assert_snapshot!("estimate_changed", world.run(&look).stdout);
}

const TRAININGS: &str = "\
version: 1
nodes:
  text: {kind: source, dataset: data/fr.txt, rows: line}
  chats: {kind: source, dataset: data/chats.jsonl}
  bpe: {kind: tokenizer, data: [text], vocab_size: 320}
  seedling:
    kind: init
    tokenizer: bpe
    config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16}
  best_fit: {kind: sft, model: seedling, data: [text, chats], sequence_len: 64, epochs: 2}
  split: {kind: sft, model: seedling, data: [text], sequence_len: 8, long_samples: split, epochs: 1}
  alone: {kind: sft, model: seedling, data: [text], packing: none, gradient_checkpointing: true, micro_batch_size: 3}
  multipack: {kind: sft, model: seedling, data: [text], sequence_len: 64, packing: multipack, micro_batch_size: 2, epochs: 3}
  adapter: {kind: sft, model: seedling, data: [chats], lora: {r: 4, target_modules: [q_proj, down_proj]}}
  part: {kind: sft, model: seedling, data: [text], sequence_len: 64, max_steps: 6, gradient_checkpointing: selective}
  selective: {kind: sft, model: seedling, data: [text], packing: none, gradient_checkpointing: selective}
";

/// With the data here nothing is assumed of whole epochs: the estimate is what the run counts.
#[test]
fn the_operations_of_a_training_are_those_that_it_then_counts() {
    let world = World::new();
    world.write("trainings.yaml", TRAININGS);
    world.run_ok(&["trainings.yaml", "seedling", "text", "chats"]);
    let plan = world.json(&["plan", "--estimate", "--device", "h100", "--json", "trainings.yaml"]);
    let here = world.json(&["plan", "--estimate", "--device", "this", "--json", "trainings.yaml"]);
    world.run_ok(&["trainings.yaml"]);
    for name in ["best_fit", "split", "alone", "multipack", "adapter", "part", "selective"] {
        let shown = world.json(&["show", name, "--json", "-p", "trainings.yaml"]);
        let (estimate, counted) = (node(&plan, name), shown["measured"]["flops"].as_f64().unwrap());
        let tokens = shown["metrics"]["tokens"].as_f64().unwrap();
        let off = value(&estimate["flops"]) / counted - 1.0;
        let steps = shown["metrics"]["steps"].as_f64().unwrap();
        assert!(estimate["what"].as_str().unwrap().contains(&format!(" {steps} steps")), "{name}: {steps}, {estimate}");
        if name == "part" {
            // Which sequences come first the seed decides, and one of all is not full.
            assert!(off.abs() < 1.0 / 6.0 && estimate["flops"]["assumed"] == true, "{name}: {off}, {estimate}");
        } else {
            assert!(off.abs() < 1e-9 && estimate["flops"]["assumed"] == false, "{name}: {off}, {estimate}");
            assert!((value(&estimate["tokens"]) - tokens).abs() < 0.5, "{name}");
        }
        let recomputed = value(&estimate["recomputed_flops"]);
        assert_eq!(recomputed > 0.0, ["alone", "part", "selective"].contains(&name), "{name}");
        // What is done twice takes its time, and is what the run counts: on the processor less of it than on a device.
        let all = recomputed + value(&estimate["flops"]);
        assert!((value(&estimate["seconds"]) * 400e12 / all - 1.0).abs() < 1e-9, "{name}: {estimate}");
        let again = value(&node(&here, name)["recomputed_flops"]);
        let counted = shown["measured"].get("recomputed_flops").map_or(0.0, |again| again.as_f64().unwrap());
        assert!(name == "part" || (again - counted).abs() <= 1e-9 * counted, "{name}: {again} {counted}");
        assert_eq!(again < recomputed, ["part", "selective"].contains(&name), "{name}");
        let size = shown["size"].as_f64().unwrap();
        // Weights alone: tokenizer, configuration and log are beside them.
        assert!(value(&estimate["disk"]) < size, "{name}: {estimate}, {size}");
    }
}

const EXITS: &str = "\
version: 1
nodes:
  text: {kind: source, dataset: data/fr.txt, rows: line}
  bpe: {kind: tokenizer, data: [text], vocab_size: 320}
  seedling:
    kind: init
    tokenizer: bpe
    config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16}
  plain: {kind: sft, model: seedling, data: [text], sequence_len: 64, optimizer: adamw}
  exits:
    kind: sft
    model: seedling
    data: [text]
    sequence_len: 64
    optimizer: adamw
    early_exit: {layers: [1, 2], head: own, branches: {layers: [1, 3], factor: 3}}
  further: {kind: sft, model: exits, data: [text], sequence_len: 64, optimizer: adamw}
  frozen:
    kind: sft
    model: seedling
    data: [text]
    sequence_len: 64
    optimizer: adamw
    gradient_checkpointing: true
    early_exit: {layers: [1, 2], head: own, branches: {layers: [2], factor: 3}, freeze_backbone: true}
  heads:
    kind: sft
    model: seedling
    data: [text]
    sequence_len: 64
    optimizer: adamw
    gradient_checkpointing: true
    early_exit: {layers: [1, 2], freeze_backbone: true}
";

/// The bytes of all tensors of a model, and of those beside it.
fn tensors(world: &World, name: &str) -> [f64; 2] {
    let shown = world.json(&["show", name, "--json", "-p", "exits.yaml"]);
    let folder = std::path::Path::new(shown["path"].as_str().unwrap()).join("model");
    let bytes = |file: &str| -> usize {
        let file = luthflow::tensor::TensorFile::open(&folder.join(file)).unwrap();
        file.names().map(|name| file.get(name).unwrap().bytes.len()).sum()
    };
    let beside = bytes("early_exit.safetensors") as f64;
    [bytes("model.safetensors") as f64 + beside, beside]
}

#[test]
fn exits_and_branches_of_a_training_are_counted() {
    let world = World::new();
    world.write("exits.yaml", EXITS);
    world.run_ok(&["exits.yaml", "seedling", "text"]);
    let look = ["plan", "--estimate", "--device", "h100", "--json", "exits.yaml"];
    let before = world.json(&look);
    world.run_ok(&["exits.yaml", "plain", "exits", "frozen", "heads"]);
    // Branches that a model has already are trained with it; its exits are left out.
    let between = world.json(&look);
    world.run_ok(&["exits.yaml"]);
    for (name, plan) in [("exits", &before), ("further", &between), ("frozen", &before), ("heads", &before)] {
        let estimate = node(plan, name);
        let shown = world.json(&["show", name, "--json", "-p", "exits.yaml"]);
        let off = value(&estimate["flops"]) / shown["measured"]["flops"].as_f64().unwrap() - 1.0;
        assert!(off.abs() < 1e-9 && estimate["flops"]["assumed"] == false, "{name}: {off}, {estimate}");
        let [bytes, beside] = tensors(&world, name);
        // Of what stays as it is there is neither a master nor a moment.
        let trained = if ["frozen", "heads"].contains(&name) { beside } else { bytes };
        let again = shown["measured"].get("recomputed_flops").map_or(0.0, |again| again.as_f64().unwrap());
        let reckoned = value(&estimate["recomputed_flops"]);
        assert!((again - reckoned).abs() <= 1e-9 * again, "{name}: {again} {reckoned}");
        assert_eq!(again > 0.0, name == "frozen", "{name}: layers below all branches are run once");
        assert!((value(&estimate["disk"]) - bytes).abs() < 0.5, "{name}: {bytes}, {estimate}");
        // Masters and two moments of each weight, in 32 bits as it is stored.
        assert!((value(&estimate["scratch"]) - 3.0 * trained).abs() < 0.5, "{name}: {estimate}");
        assert!((value(&node(&before, name)["disk"]) - bytes).abs() < 0.5, "{name} before the model was here");
    }
    let (plain, exits) = (node(&before, "plain"), node(&before, "exits"));
    let [frozen, heads] = ["frozen", "heads"].map(|name| node(&before, name));
    for figure in ["flops", "seconds", "host_memory", "device_memory"] {
        let [heads, frozen, exits] = [heads, frozen, exits].map(|node| value(&node[figure]));
        assert!(heads < frozen && frozen < exits, "{figure}: {heads} {frozen} {exits}");
    }
    assert!(heads["what"].as_str().unwrap().contains("those of 2 exits"), "{heads}");
    assert!(exits["what"].as_str().unwrap().contains("weights and 2 exits,"), "{exits}");
    let more = value(&exits["disk"]) - value(&plain["disk"]);
    for (memory, times) in [("host_memory", 4.0), ("device_memory", 3.0)] {
        let difference = value(&exits[memory]) - value(&plain[memory]);
        assert!(difference >= times * more, "{memory}: {difference} for {more} bytes of weights");
    }
    world.edit_file("exits.yaml", "layers: [1, 2], head", "layers: [1, 3], head");
    let wrong = world.json(&look);
    assert!(node(&wrong, "exits")["notes"].to_string().contains("`seedling` does not have: it has 3"), "{wrong}");
}

const DEPTHS: &str = "\
version: 1
sweep: {exit: [1, 2, last]}
nodes:
  text: {kind: source, dataset: data/fr.txt, rows: line}
  bpe: {kind: tokenizer, data: [text], vocab_size: 320}
  seedling:
    kind: init
    tokenizer: bpe
    config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16}
  exits: {kind: sft, model: seedling, data: [text], sequence_len: 64, max_steps: 2, early_exit: {layers: [1, 2], branches: {layers: [2], factor: 4}}}
  pairs: {kind: source, dataset: data/pairs.txt, format: clams}
  scores: {kind: eval, model: exits, exit: \"${exit}\", tasks: [{minimal_pairs: {name: pairs, data: pairs, limit: 1}}]}
  texts: {kind: generate, model: exits, exit: \"${exit}\", from: text, limit: 10, prompt: a, into: b, params: {max_tokens: 8}}
";

/// Evals and written answers at an exit take the operations of the layers before it, of the branches beside these, and of one output
/// layer. By hand: heads of 16, so q 32·32, k and v 16·32 each, o 32·32, and a feed-forward layer of three times 32·64.
#[test]
fn what_stops_at_an_exit_is_reckoned_with_its_depth() {
    let world = World::new();
    world.write("depths.yaml", DEPTHS);
    let look = ["plan", "--estimate", "--device", "h100", "--json", "depths.yaml"];
    let before = world.json(&look);
    world.run_ok(&["depths.yaml", "exits"]);
    let (layer, head) = (f64::from(2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64), f64::from(320 * 32));
    for plan in [&before, &world.json(&look)] {
        for (exit, layers, attending) in [("1", 1.0, 1.0), ("2", 2.25, 2.0625), ("last", 3.25, 3.0625)] {
            // Two sentences of 15 tokens, with one row for the output layer.
            let own = 2.0 * (layers * layer * 15.0 + head) + 4.0 * 32.0 * attending * 15.0 * 7.5;
            let scores = value(&node(plan, &format!("scores[exit={exit}]"))["flops"]);
            assert!((scores / (2.0 * own) - 1.0).abs() < 1e-9, "{exit}: {scores}, by hand {}", 2.0 * own);
            let texts = value(&node(plan, &format!("texts[exit={exit}]"))["flops"]);
            let length = 200.0 + 8.0;
            let own = 2.0 * (layers * layer * length + head * 8.0) + 4.0 * 32.0 * attending * length * length / 2.0;
            assert!((texts / (10.0 * own) - 1.0).abs() < 1e-9, "{exit}: {texts}, by hand {}", 10.0 * own);
        }
    }
    // What is measured says what a token costs, by which the speed of evals is known.
    world.run_ok(&["depths.yaml", "scores"]);
    for (exit, layers) in [("1", 1.0), ("2", 2.25), ("last", 3.25)] {
        let shown = world.json(&["show", &format!("scores[exit={exit}]"), "--json", "-p", "depths.yaml"]);
        let measured = shown["measured"]["flops_per_token"].as_f64().unwrap();
        assert!((measured - 2.0 * (layers * layer + head)).abs() < 0.5, "{exit}: {shown}");
    }
    world.edit_file("depths.yaml", "layers: [1, 2], branches", "layers: [1], branches");
    let wrong = world.json(&look);
    let scores = node(&wrong, "scores[exit=2]");
    assert!(scores["flops"].is_null() && scores["notes"].to_string().contains("no exit after layer 2"), "{scores}");
}

/// Without the data it rests on what is expected of it.
#[test]
fn what_is_expected_of_data_is_close_to_what_is_counted() {
    let world = World::new();
    let pipeline = TRAININGS.replace("rows: line}", "rows: line, expect: {rows: 64, tokens: TOKENS}}");
    world.write("trainings.yaml", TRAININGS);
    world.run_ok(&["trainings.yaml", "multipack"]);
    let shown = world.json(&["show", "multipack", "--json", "-p", "trainings.yaml"]);
    let tokens = shown["metrics"]["tokens"].as_f64().unwrap() / 3.0;
    world.write("trainings.yaml", &pipeline.replace("TOKENS", &tokens.to_string()));
    // What is expected is in no key.
    assert!(world.run_ok(&["trainings.yaml", "multipack"]).ran.is_empty());
    let look = ["--cache-dir", "other", "plan", "--estimate", "--device", "h100", "--json", "trainings.yaml"];
    let plan = world.json(&look);
    let estimate = node(&plan, "multipack");
    let off = value(&estimate["flops"]) / shown["measured"]["flops"].as_f64().unwrap() - 1.0;
    // Attention alone is off: lengths are taken to spread, and these are nearly the same.
    assert!(off.abs() < 0.05 && estimate["flops"]["assumed"] == true, "{off}: {estimate}");
    assert!((value(&estimate["tokens"]) - tokens * 3.0).abs() < 0.5);
}

#[test]
fn this_machine_is_measured() {
    let world = World::new();
    let plan = world.json(&["plan", "--estimate", "--json"]);
    let device = &plan["estimate"]["device"];
    assert_eq!(
        (&device["name"], &device["measured"], &device["is_host"]),
        (&"this".into(), &true.into(), &true.into())
    );
    assert!(device["peak_flops"].as_f64().unwrap() > 1e8 && device["bandwidth"].as_f64().unwrap() > 1e8);
    assert!(device["memory"].as_f64().unwrap() > 1e8);
    // All is computed by the host.
    let merged = node(&plan, "merged[t=0.25]");
    assert_eq!(merged["device_memory"]["value"], 0.0);
    // A plan that is asked for no estimate has none.
    assert!(world.json(&["plan", "--json"])["nodes"][0].get("estimate").is_none());
}

#[test]
fn what_does_not_fit_is_told_with_ways_out() {
    let world = World::empty();
    let ran = offline(&world, &["plan", "--estimate", "--device", "4090", "--json", &luth("luth-1.7b")]);
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    let why = node(&plan, "sft")["fits"].as_str().unwrap().to_owned();
    assert!(
        why.contains("the device has 24 GB") && why.contains("micro_batch_size") && why.contains("`lora`"),
        "{why}"
    );
    assert!(node(&plan, "scores")["fits"].is_null());
}

#[test]
fn what_is_not_known_is_said_so() {
    let world = World::empty();
    world.write(
        "p.yaml",
        "version: 1\nnodes:\n  m: {kind: source, model: \"hf://somebody/something\"}\n  d: {kind: source, dataset: \"hf://datasets/a/b\"}\n  \
         sft: {kind: sft, model: m, data: [d]}\n",
    );
    // A hub that does not answer is no reason to say nothing.
    let output = world.command(&["plan", "--estimate", "--device", "h100", "--json", "p.yaml"]);
    let output = { output }.env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sft = node(&plan, "sft");
    for field in ["tokens", "flops", "seconds", "disk", "device_memory"] {
        assert!(sft[field].is_null(), "{field}: {sft}");
    }
    assert!(sft["notes"].to_string().contains("the shape of `m` is unknown"), "{sft}");
    assert!(node(&plan, "m")["notes"].to_string().contains("the hub does not tell"), "{plan}");
    assert_eq!(plan["estimate"]["total"]["without_time"], 3);
}

/// The bytes of a packed file are no text: their number would say a tenth of the tokens, or less.
#[test]
fn tokens_of_packed_files_are_unknown_and_said_so() {
    let world = World::empty();
    let lines = "{\"text\": \"la mer est grise\"}\n".repeat(400);
    world.write("rows.jsonl", &lines);
    let zst = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let parquet = repository().join("tests/fixtures/readers/types.parquet");
    fs_err::write(world.path("rows.jsonl.zst"), &zst).unwrap();
    fs_err::write(world.path("ROWS.JSONL.ZST"), &zst).unwrap();
    fs_err::write(world.path("rows.parquet.zst"), zstd::encode_all(&*fs_err::read(&parquet).unwrap(), 3).unwrap())
        .unwrap();
    fs_err::copy(&parquet, world.path("rows.parquet")).unwrap();
    for (file, packed) in [
        ("rows.jsonl", false),
        ("rows.jsonl.zst", true),
        ("ROWS.JSONL.ZST", true),
        ("rows.parquet", true),
        ("rows.parquet.zst", true),
    ] {
        world.write(
            "p.yaml",
            &format!(
                "version: 1\nnodes:\n  raw: {{kind: source, dataset: {file}}}\n  set: {{kind: curate, from: [raw], steps: [length: {{min_chars: 1}}]}}\n  \
                 bpe: {{kind: tokenizer, data: [raw], vocab_size: 300}}\n  base: {{kind: init, tokenizer: bpe, config: {{hidden_size: 32, \
                 intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16}}}}\n  \
                 sft: {{kind: sft, model: base, data: [set], epochs: 1}}\n"
            ),
        );
        let plan = world.json(&["plan", "--estimate", "--device", "h100", "--json", "p.yaml"]);
        let sft = node(&plan, "sft");
        let said = sft["notes"].to_string();
        assert_eq!(sft["tokens"].is_null(), packed, "{file}: {sft}");
        assert_eq!(
            said.contains("since its files are packed; `expect: {tokens: …}` says it"),
            packed,
            "{file}: {said}"
        );
        if !packed {
            assert!((value(&sft["tokens"]) - lines.len() as f64 / 4.0).abs() < 1.0, "{sft}");
        }
    }
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    let world = World::new();
    let wrong = |args: &[&str]| {
        let ran = world.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stdout);
        ran.stderr
    };
    let device = wrong(&["plan", "--estimate", "--device", "h200"]);
    assert!(
        device.contains("there is no device `h200`") && device.contains("h100, a100, 4090, m3-max, this"),
        "{device}"
    );
    assert!(wrong(&["plan", "--estimate", "--bandwidth", "fast"]).contains("write `1Gbit`"));
    assert!(wrong(&["plan", "--device", "h100"]).contains("--estimate"));
    world.write("p.yaml", "version: 1\nnodes:\n  m: {kind: source, model: no/such/model}\n");
    assert!(wrong(&["plan", "--estimate", "--device", "h100", "p.yaml"]).contains("no/such/model"));
    world.write("p.yaml", "version: 1\nnodes:\n  m: {kind: source, model: models, expect: {rows: 3}}\n");
    assert!(wrong(&["plan", "--estimate", "p.yaml"]).contains("only a data set has `expect`"));
}
