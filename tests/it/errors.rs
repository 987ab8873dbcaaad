//! What a user sees when something is wrong: whole outputs, so that a worse wording shows in review.

use crate::world::World;

/// A pipeline with one mistake of every sort.
const MANY: &str = "\
version: 1
name: many
nots: none
params: {seed: 7}
sweep:
  t: [0.25, 0.75]
nodes:
  text: {kind: source, dataset: data/en.txt, rows: lines}
  odd: {kind: sorce, dataset: data/en.txt}
  bare:
  kindless: {dataset: data/en.txt}
  english:
    kind: curate
    from: [text, txt]
    steps:
      - normalise: {form: nfc}
      - length: {min_char: 10}
      - dedup: exactly
      - split: {eval: 2}
  french: {kind: curate, from: [text], steps: [split: {eval: 0.1}]}
  bpe: {kind: tokenizer, data: [french], vocab_size: many}
  seedling: {kind: init, tokenizer: bpe, config: {hidden_size: 32}}
  base: {kind: sft, model: seedling, data: [french.test], lerning_rate: 1.0e-3, seed: \"${sed}\"}
  sft: {kind: sft, data: [english.train], epochs: fast}
  wrong: {kind: sft, model: text, data: [odd], max_steps: -1}
  merged: {kind: merge, method: slurp, base: base, models: [sft], parameters: {tt: \"${t}\"}}
  lost: {kind: sft, modle: base, data: [french.train]}
  a: {kind: merge, method: linear, base: b, models: [sft], parameters: {t: 0.5}}
  b: {kind: merge, method: linear, base: a, models: [sft], parameters: {t: 1.5}}
  scores: {kind: eval, model: merged, tasks: [{bits_per_bite: {name: fr, data: english.eval}}, {minimal_pairs: {}}]}
  report: {kind: report, over: scores}
";

/// Compares exit code and standard error with the snapshot; nothing may be on standard output.
fn assert_output(name: &str, world: &World, args: &[&str]) {
    let ran = world.run(args);
    assert_eq!(ran.stdout, "", "an error is no data");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[TIME]");
    settings.add_filter(r"runs/[0-9A-Za-z_.:+-]+", "runs/[RUN]");
    let text = format!("$ luthflow {}\nexit code {}\n\n{}", args.join(" "), ran.code, world.tidy(&ran.stderr));
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn check(name: &str, text: &str) {
    let world = World::empty();
    world.write("pipeline.yaml", text);
    assert_output(name, &world, &["check"]);
}

#[test]
fn every_mistake_of_a_file_is_found_at_once() {
    check("many_mistakes", MANY);
}

/// A mistake must not draw others after it: the same file with one mistake has one mistake.
#[test]
fn no_mistake_is_told_twice() {
    for (from, to) in [
        ("rows: line}", "rows: lines}"),
        ("kind: tokenizer", "kind: tokeniser"),
        ("method: slerp", "method: slurp"),
        (
            "- dedup: exact\n      - split: {eval: 0.2}\n  french",
            "- dedup: exact\n      - split: {evil: 0.2}\n  french",
        ),
        ("data/en.txt, rows", "[data/en.txt], rows"),
        ("bits_per_byte: {name: fr, data: french.eval}\n", "bits_per_bite: {name: fr, data: french.eval}\n"),
        ("models: [sft]", "models: [[sft]]"),
        ("parameters: {t: \"${t}\"}", "parameters: {t: \"${u}\"}"),
        ("      head_dim: 16\n", ""),
        ("over: [scores_base, scores]", "over: [scores_base, {a: scores}]"),
        ("kind: eval\n", "kind: evil\n"),
        ("from: [text_en]", "form: [text_en]"),
        ("parameters: {t:", "parameters: {tt:"),
        ("bits_per_byte: {name: fr, data: french.eval}}", "bits_per_byte: {name: fr, date: french.eval}}"),
        ("rate: 2.0e-3", "rate: {a: 1}"),
        ("sweep:\n  t: [0.25, 0.75]", "sweep:\n  t: 0.25-0.75"),
        ("params: {seed: 7,", "params: {sead: 7,"),
    ] {
        let world = World::new();
        let text = world.read("pipeline.yaml");
        assert!(text.contains(from), "{from}");
        world.write("pipeline.yaml", &text.replacen(from, to, 1));
        let ran = world.run(&["check"]);
        let mistakes: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("  × ")).collect();
        let uses = if from.starts_with("params") { 2 } else { 1 };
        assert_eq!(mistakes.len(), uses + 1, "{to}: {}", ran.stderr);
        assert_eq!(ran.code, 2);
    }
}

#[test]
fn a_file_that_is_no_yaml_says_where_it_breaks() {
    check("syntax", "version: 1\nnodes:\n  a: {kind: source, dataset: x\n  b: [\n");
    check("tab", "version: 1\nnodes:\n\ta: {kind: source}\n");
    check("unknown_alias", "version: 1\nnodes:\n  a: {kind: curate, from: *others}\n");
}

#[test]
fn a_repeated_key_is_shown_where_it_is_repeated() {
    check(
        "repeated_keys",
        "version: 1\nnodes:\n  a: {kind: source, dataset: x.txt}\n  b: {kind: source, dataset: x.txt, dataset: y.txt}\n  a: {kind: source, dataset: y.txt}\n",
    );
}

#[test]
fn an_axis_that_nothing_uses_is_shown() {
    check("unused_axis", "version: 1\nsweep: {t: [1, 2]}\nnodes:\n  a: {kind: source, dataset: x.txt}\n");
}

#[test]
fn files_that_are_no_pipelines() {
    check("empty_file", "");
    check("comment_only", "# to do\n");
    check("a_list", "- version: 1\n");
    check("no_nodes", "version: 1\n");
    check("version_2", "version: 2\nnodes:\n  a: {kind: source, dataset: x.txt}\n");
    check("no_version", "nodes:\n  a: {kind: source, dataset: x.txt}\n");
    let world = World::empty();
    std::fs::write(world.path("pipeline.yaml"), b"version: 1\nname: caf\xe9\n").unwrap();
    assert_output("not_utf_8", &world, &["check"]);
}

#[test]
fn arguments_that_name_what_is_not_there() {
    let empty = World::empty();
    assert_output("no_pipeline", &empty, &["run"]);
    assert_output("no_such_file", &empty, &["run", "pipelines/quickstart.yaml"]);
    let world = World::new();
    assert_output("unknown_node", &world, &["run", "scored"]);
    assert_output("unknown_instance", &world, &["show", "merged[t=0.5]"]);
    assert_output("several_instances", &world, &["show", "merged"]);
    assert_output("unknown_forced", &world, &["run", "--force", "bpf"]);
    assert_output("no_node", &world, &["show"]);
    assert_output("unclosed", &world, &["run", "merged[t=0.25"]);
    assert_output("unknown_command", &world, &["rnu"]);
    assert_output("export_before_run", &world, &["export", "bpe", "out"]);
    assert_output("log_before_run", &world, &["log", "bpe"]);
    assert_output("locked_without_lock", &world, &["run", "--locked"]);
}

#[test]
fn parameters_that_cannot_be() {
    let world = World::new();
    assert_output("set_without_value", &world, &["plan", "--set", "rate"]);
    assert_output("set_unknown", &world, &["plan", "--set", "rat=1"]);
    assert_output("set_wrong_type", &world, &["plan", "--set", "rate=fast"]);
    assert_output("set_out_of_range", &world, &["plan", "--set", "t=1.5"]);
    assert_output("sweep_endless", &world, &["plan", "--sweep", "t=0:1:0"]);
    assert_output("sweep_twice", &world, &["plan", "--sweep", "t=0.5,0.50"]);
    assert_output("sweep_too_many", &world, &["plan", "--sweep", "t=0:1:1e-9"]);
    assert_output("sweep_unused", &world, &["plan", "--sweep", "seed=1,2", "--sweep", "name=a,b"]);
}

#[test]
fn sources_that_cannot_be_read() {
    let world = World::new();
    std::fs::remove_file(world.path("data/fr.txt")).unwrap();
    assert_output("source_missing", &world, &["check"]);
    let world = World::new();
    world.edit("dataset: data/en.txt", "dataset: 'data/[en.txt'");
    assert_output("source_bad_glob", &world, &["check"]);
    let world = World::new();
    let pin = "0".repeat(64);
    world.edit("dataset: data/en.txt", &format!("digest: 'blake3:{pin}', dataset: data/en.txt"));
    assert_output("source_drifted", &world, &["check"]);
    let world = World::new();
    world.edit("dataset: data/en.txt", "digest: 'sha256:1234', dataset: data/en.txt");
    assert_output("source_bad_pin", &world, &["check"]);
}

#[test]
fn a_node_that_fails_says_why_and_where_its_log_is() {
    let world = World::empty();
    world.write("data/en.txt", "short\nlines\nonly\n");
    world.write(
        "pipeline.yaml",
        "\
version: 1
nodes:
  text: {kind: source, dataset: data/en.txt, rows: line}
  english: {kind: curate, from: [text], steps: [length: {min_chars: 1000}]}
  bpe: {kind: tokenizer, data: [english]}
",
    );
    assert_output("failing_node", &world, &["run", "--jobs", "1"]);
    assert_output("failing_node_again", &world, &["run", "--jobs", "1", "bpe"]);
}

#[test]
fn a_lockfile_that_cannot_be_used() {
    let world = World::new();
    for (name, text) in [
        ("lock_garbage", "hello\n"),
        ("lock_version", "version: 9\npipeline: tiny\nluthflow: 0.1.0\nplatform: x\nnodes: {}\n"),
        ("lock_node", "version: 1\npipeline: tiny\nluthflow: 0.1.0\nplatform: x\nnodes: {text_en: {kind: source}}\n"),
    ] {
        world.write("pipeline.lock", text);
        assert_output(name, &world, &["status"]);
    }
}

/// A GPU that is asked for by name is not replaced by the CPU without a word.
#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_this_program_was_not_built_for() {
    let world = World::new();
    assert_output("device_not_built", &world, &["run", "--device", "cuda:0", "pipeline.yaml"]);
    assert_output("device_unknown", &world, &["run", "--device", "gpu", "pipeline.yaml"]);
}

const AVERAGES: &str = "\
version: 1
name: means
nodes:
  text: {kind: source, dataset: data/en.txt, rows: line}
  model: {kind: source, model: model}
  scores:
    kind: eval
    model: model
    exit: 2
    tasks: [{bits_per_byte: {name: prose, data: text}}, {bits_per_byte: {name: verse-old, data: text}}]
  report:
    kind: report
    over: [scores]
    averages: {both: [prose, verse-old.bits_per_byte], cost: [compute.flops_per_token], AVERAGES}
";

/// Not only by the report, which runs last of all.
#[test]
fn averages_of_tasks_that_no_eval_has_are_found_at_once() {
    check(
        "averages",
        &AVERAGES.replace(
            "AVERAGES",
            "wrong: [prose, prsoe, verse-new, choir.acc, verse-old.bits, prose.acc, compute.shares], prose: [prose]",
        ),
    );
    let told = |text: &str| {
        let world = World::new();
        world.write("model/config.json", "{}");
        world.write("pipeline.yaml", text);
        world.run(&["check"])
    };
    let sound = told(&AVERAGES.replace(", AVERAGES", ""));
    assert_eq!(sound.code, 0, "{}", sound.stderr);
    // Scores of the list, those that four are of one, and those of a task of one's own, by the names that it gives.
    let own = "{mine: {data: text, define: {task: mine, prompt: a, request: {generate: {gold: a}}, metrics: [em, {metric: ifeval, \
               name: kept}]}}}";
    let tasks = |averages: &str| {
        let text = AVERAGES.replace("[{bits_per_byte: {name: prose, data: text}}, ", &format!("[ifeval-fr, {own}, "));
        told(&text.replace("both: [prose, verse-old.bits_per_byte]", averages).replace(", AVERAGES", ""))
    };
    let sound = tasks("a: [ifeval-fr, ifeval-fr.inst_loose, mine.em], b: [mine.kept_prompt_strict]");
    assert_eq!(sound.code, 0, "{}", sound.stderr);
    let ran = tasks("a: [ifeval-fr.ifeval, mine.kept_prompt_strickt]");
    for word in ["no score `ifeval`", "there are `inst_loose`, `inst_strict`", "did you mean `kept_prompt_strict`?"] {
        assert!(ran.code == 2 && ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    // Without an exit there is no cost.
    let ran = told(&AVERAGES.replace(", AVERAGES", "").replace("    exit: 2\n", ""));
    assert!(ran.code == 2 && ran.stderr.contains("no eval of this report has a task"), "{}", ran.stderr);
}
