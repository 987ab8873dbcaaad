//! What stands in a pipeline in a language of its own — expressions, templates, regular expressions, schemas, tasks — is read by
//! `check`, and by `run` before anything starts; and what `check` says of an order of steps that loses something.

use crate::world::World;

const HEAD: &str = "version: 1\nnodes:\n  rows: {kind: source, dataset: rows.jsonl}\n";

fn world(nodes: &str) -> World {
    let world = World::empty();
    world.write("rows.jsonl", "{\"text\": \"un\", \"score\": 3}\n{\"text\": \"deux\", \"score\": 4}\n");
    world.write("pipeline.yaml", &format!("{HEAD}{nodes}"));
    world
}

#[test]
fn what_cannot_be_read_is_found_before_anything_starts() {
    let world = world(
        "  set:
    kind: curate
    from: [rows]
    steps:
      - where: \"score >\"
      - where: mtches(text, '^a')
      - messages: {format: template, template: [{role: user, content: \"{{text\"}]}
      - matches: {pattern: \"a(?=b)\"}
      - replace: {pattern: \"(\", with: x}
      - dedup_exact: {keep: [score], score: \"score | lenght\"}
      - dedup_fuzzy: {keep: [score], score: \"1 +\"}
      - mix: {weights: {other: 1}}
      - sort: {by: \"text is numbr\"}
      - split: {eval: 0.5, group: \"matches(text, '[')\", stratify: \"}\"}
  asked:
    kind: generate
    from: rows
    endpoint: {url: \"http://localhost:1/v1\", model: m}
    prompt: \"{% if text %}\"
    into: answer
    keep_if: \"answer = 1\"
    keep_matching: \"[\"
    output: {json_schema: {type: nothing}}
",
    );
    let check = world.run(&["check"]);
    assert_eq!(check.code, 2, "{}", check.stderr);
    insta::assert_snapshot!("unreadable", world.tidy(&check.stderr));
    for command in ["plan", "run", "status"] {
        let ran = world.run(&[command]);
        assert_eq!((ran.code, ran.stderr), (check.code, check.stderr.clone()), "{command} says what check says");
    }
    assert!(!world.path("cache").exists(), "nothing has started");
}

#[test]
fn a_task_of_one_s_own_is_read_too() {
    let task = |gold: &str, metrics: &str| {
        format!(
            "{{kind: eval, model: model, tasks: [{{mine: {{data: rows, define: {{task: mine, request: {{generate: {{gold: \"{gold}\"}}}}, \
             prompt: \"{{{{text}}}}\", metrics: {metrics}}}}}}}]}}\n"
        )
    };
    for (gold, metrics, wrong) in [
        ("text", "[em]", None),
        ("text |", "[em]", Some("`request.generate.gold` of the task `mine`")),
        ("lettre(0)", "[em]", Some("no function `lettre`")),
        ("text", "[{metric: em, extract: {pattern: \"(\"}}]", Some("not a regular expression")),
        ("text", "[acc]", Some("it cannot be told from an answer in words")),
        ("text", "[em, em]", Some("are called `em`")),
    ] {
        let world = world(&format!("  model: {{kind: source, model: model}}\n  scores: {}", task(gold, metrics)));
        world.write("model/config.json", "{}");
        let said = world.run(&["plan"]).stderr;
        match wrong {
            Some(wrong) => assert!(said.contains(wrong) && said.contains("pipeline.yaml:5"), "{wrong}: {said}"),
            None => assert!(!said.contains("mistake"), "{said}"),
        }
    }
}

/// A task file with a good template, a language and a profile with templates of their own, and room for a mistake.
const TASK: &str = "task: mine
request: {generate: {gold: text}}
prompt: \"{{text}}\"
metrics:
  - em
  - metric: f1
draw: {seed: 1, below: 4}
languages:
  en: {}
  fr:
    prompt: \"{{text}} ?\"
    profiles:
      luth: {answer_start: \"Réponse :\"}
profiles:
  lm-eval: {instruction: \"Answer.\"}
";

#[test]
fn a_mistake_in_a_task_file_is_told_at_its_place() {
    let with = |settings: &str, (old, new): (&str, &str)| {
        let world = world(&format!(
            "  model: {{kind: source, model: model}}\n  scores: {{kind: eval, model: model, {settings}}}\n"
        ));
        world.write("model/config.json", "{}");
        assert!(TASK.contains(old), "{old}");
        world.write("tasks/mine.yaml", &TASK.replacen(old, new, 1));
        world
    };
    let plain = "tasks: [{bits_per_byte: {name: b, data: rows}}, {tasks/mine.yaml: {data: rows}}]";
    let french = "tasks: [{tasks/mine.yaml: {data: rows, language: fr}}], profile: luth";
    let theirs = "tasks: [{tasks/mine.yaml: {data: rows}}], profile: lm-eval";
    assert!(!with(plain, ("text", "text")).run(&["plan"]).stderr.contains("mistake"));
    let mut told = String::new();
    for (settings, change, place) in [
        (plain, ("{{text}}", "{{text"), "tasks/mine.yaml:3:9"),
        (plain, ("gold: text", "gold: text |"), "tasks/mine.yaml:2:28"),
        (plain, ("  - em", "  - acc"), "tasks/mine.yaml:5:5"),
        (plain, ("metric: f1", "metric: em"), "tasks/mine.yaml:6:5"),
        (plain, ("below: 4", "below: 0"), "tasks/mine.yaml:7:24"),
        // Where it is written for the language and the profile that are asked for.
        (french, ("{{text}} ?", "{{text ?"), "tasks/mine.yaml:11:13"),
        (french, ("Réponse :", "{% if %}"), "tasks/mine.yaml:13:28"),
        (theirs, ("Answer.", "{{ans wer}}"), "tasks/mine.yaml:15:26"),
        // What serde says was told there before.
        (plain, ("{seed: 1, below: 4}", "{seed: one, below: 4}"), "tasks/mine.yaml:7:14"),
    ] {
        let world = with(settings, change);
        let check = world.run(&["check"]);
        assert_eq!(check.code, 2, "{place}: {}", check.stderr);
        assert!(check.stderr.contains(place) && check.stderr.contains("has 1 mistake"), "{place}: {}", check.stderr);
        told += &(world.tidy(&check.stderr) + "\n");
    }
    insta::assert_snapshot!("task_files", told);
}

#[test]
fn a_mistake_in_an_included_pipeline_s_task_file_is_told_there() {
    let world = world("include: []\n");
    world.write("tasks/mine.yaml", &TASK.replacen("{{text}}", "{{text", 1));
    let head = HEAD.replace("rows.jsonl", "../rows.jsonl");
    let nodes = "  model: {kind: source, model: ../model}\n  \
        scores: {kind: eval, model: model, tasks: [{../tasks/mine.yaml: {data: rows}}]}\n";
    world.write("below/inner.yaml", &format!("{head}{nodes}"));
    world.write("pipeline.yaml", "version: 1\ninclude: [{file: below/inner.yaml, as: inner}]\n");
    world.write("model/config.json", "{}");
    let said = world.run(&["check"]).stderr;
    assert!(said.contains("tasks/mine.yaml:3:9"), "{said}");
}

#[test]
fn a_pattern_of_an_adapter_is_read_too() {
    let world = world(
        "  a: {kind: source, model: model}\n  \
         thin: {kind: extract_lora, model: a, base: a, include_regex: [\"layers\", \"(\"], exclude_regex: [\"[\"]}\n",
    );
    let said = world.run(&["check"]).stderr;
    assert!(said.contains("`include_regex[1]`: `(` is no pattern") && said.contains("has 2 mistakes"), "{said}");
}

/// A parameter is filled in before it is read, at every point of a sweep.
#[test]
fn only_the_points_of_a_sweep_that_are_wrong_are_told() {
    let world = world("  set: {kind: curate, from: [rows], steps: [where: \"${rule}\"]}\n");
    world.edit("nodes:", "sweep: {rule: [\"score > 3\", \"score >\"]}\nnodes:");
    let said = world.run(&["check"]).stderr;
    assert!(said.contains("`score >` cannot be read") && said.contains("has 1 mistake"), "{said}");
}

#[test]
fn an_order_that_loses_something_is_a_warning() {
    let world = world(
        "  set:
    kind: curate
    from: [rows]
    steps:
      - sample: {rows: 100}
      - shuffle: {}
      - dedup_fuzzy: {}
      - fix_text: {}
      - length: {min_chars: 2}
",
    );
    let check = world.run(&["check"]);
    assert_eq!(check.code, 0, "{}", check.stderr);
    insta::assert_snapshot!("order", world.tidy(&check.stderr));
    assert!(!world.run(&["plan"]).stderr.contains("sample"), "only `check` says so");
}

#[test]
fn an_eval_whose_items_nobody_searched_for_is_a_warning() {
    let nodes = |step: &str| {
        format!(
            "  set: {{kind: curate, from: [rows], steps: [length: {{min_chars: 1}}{step}]}}
  bpe: {{kind: tokenizer, data: [set], vocab_size: 300}}
  base: {{kind: init, tokenizer: bpe, config: {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16}}}}
  tuned: {{kind: sft, model: base, data: [set], max_steps: 1}}
  items: {{kind: source, dataset: rows.jsonl}}
  scores: {{kind: eval, model: tuned, tasks: [{{ifeval: {{data: items}}}}, {{bits_per_byte: {{name: b, data: items}}}}]}}
"
        )
    };
    let bare = world(&nodes(""));
    let check = bare.run(&["check"]);
    let said = check.stderr;
    assert!(check.code == 0 && said.contains("examined on `ifeval`, and no data was searched"), "{said}");
    assert!(said.contains("decontaminate: {evals: [ifeval]}"), "{said}");
    // Many are one warning.
    let several = nodes("").replace("{ifeval: {data: items}}", "{ifeval: {data: items}}, {math-500: {data: items}}");
    let said = world(&several).run(&["check"]).stderr;
    assert!(said.contains("on `ifeval`, `math-500`, and no data was searched for their items"), "{said}");
    assert!(said.contains("{evals: [ifeval, math-500]}") && said.matches("examined").count() == 1, "{said}");
    let by_node = world(&nodes(", decontaminate: {evals: [{node: items, name: items}]}"));
    assert!(!by_node.run(&["check"]).stderr.contains("examined"), "the same rows");
    // A task that has its language apart is the one that has it at the end of its name, and not the English one.
    let of = |task: &str| {
        nodes(", decontaminate: {evals: [SET]}")
            .replace("SET", task)
            .replace("{ifeval: {data: items}}", "{mmlu: {language: de}}")
    };
    for task in ["mmlu-de", "{task: mmlu, language: de}"] {
        let said = world(&of(task)).run(&["check"]).stderr;
        assert!(!said.contains("examined"), "{task}: {said}");
    }
    let said = world(&of("mmlu")).run(&["check"]).stderr;
    assert!(said.contains("examined on `mmlu-de`") && said.contains("{evals: [mmlu-de]}"), "{said}");
}
