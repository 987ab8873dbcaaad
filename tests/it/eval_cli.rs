//! `luthflow eval` as a user has it: scores without a pipeline, and the scores and rows of evals to look at.

use fs_err as fs;
use serde_json::{Value, json};

use crate::world::{Ran, World};

/// Rows of the shape of ARC. One of them is up to no good.
const ARC: &str = concat!(
    r#"{"id": "1", "question": "Which animal barks?", "choices": {"text": ["a cat", "a dog", "a cow"], "label": ["A", "B", "C"]}, "answerKey": "B"}"#,
    "\n",
    r#"{"id": "2", "question": "What is </script><script>alert(1)</script> & <b>?", "choices": {"text": ["<!-- x", "]]>", "water"], "label": ["1", "2", "3"]}, "answerKey": "3"}"#,
    "\n",
    r#"{"id": "3", "question": "What do we breathe?", "choices": {"text": ["air", "stone"], "label": ["A", "B"]}, "answerKey": "A"}"#,
    "\n",
);

/// A task of one's own: an answer in words.
const OWN: &str = "\
task: own
about: What a colour is
prompt: \"Colour: {{colour}}\\nIt is\"
source: {dataset: own.jsonl}
request:
  generate: {max_tokens: 6, gold: answer}
metrics:
  - f1
  - {metric: exact_match, name: \"exact_match,first-word\", extract: {pattern: '\\w+'}}
group: kind
";

const OWN_ROWS: &str = "\
{\"colour\": \"red\", \"answer\": \"warm\", \"kind\": \"warm\"}
{\"colour\": \"blue\", \"answer\": [\"cold\", \"cool\"], \"kind\": \"cold\"}
";

/// Two evals of two models, and what they are made of.
const PIPELINE: &str = "\
version: 1
nodes:
  first: {kind: source, model: model}
  second: {kind: source, model: other}
  rows: {kind: source, dataset: arc.jsonl}
  texts: {kind: source, dataset: texts.jsonl}
  of_first: {kind: eval, model: first, max_length: 64, tasks: [{arc-challenge: {data: rows}}, {bits_per_byte: {name: text, data: texts}}]}
  of_second: {kind: eval, model: second, tasks: [{arc-challenge: {data: rows, limit: 2}}]}
  only_text: {kind: eval, model: first, max_length: 64, tasks: [{bits_per_byte: {name: text, data: texts}}]}
";

/// A world with two models and some rows.
fn world() -> World {
    let world = World::empty();
    let from = crate::tiny::fixture();
    for (name, weights) in [("model", "tied"), ("other", "untied")] {
        fs::create_dir_all(world.path(name)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(from.join(weights).join(file), world.path(name).join(file)).unwrap();
        }
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(from.join(file), world.path(name).join(file)).unwrap();
        }
    }
    world.write("arc.jsonl", ARC);
    world.write("own.yaml", OWN);
    world.write("own.jsonl", OWN_ROWS);
    world.write("texts.jsonl", "{\"text\": \"Il dort.\"}\n{\"text\": \"Elle lit.\"}\n");
    world
}

/// A world in which the pipeline has run.
fn ran() -> World {
    let world = world();
    world.write("pipeline.yaml", PIPELINE);
    world.run_ok(&[]);
    world
}

fn eval(world: &World, args: &[&str]) -> Ran {
    let all = ["eval", "--model", "model", "--data", "arc-challenge=arc.jsonl"];
    world.run(&all.iter().chain(args).copied().collect::<Vec<_>>())
}

fn ok(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// What goes wrong, without the frame.
fn wrong(world: &World, args: &[&str]) -> String {
    let ran = world.run(args);
    assert_eq!(ran.code, 2, "{}\n{}", ran.stdout, ran.stderr);
    world.tidy(&ran.stderr)
}

/// The digits of likelihoods are those of a machine.
fn without_digits(text: &str) -> String {
    let digits = fancy_regex::Regex::new(r" *-?\d+\.\d{3,}").unwrap();
    digits.replace_all(text, " #").into_owned()
}

#[test]
fn a_model_is_scored_without_a_pipeline_and_only_once() {
    let world = world();
    let first = eval(&world, &["--tasks", "arc-challenge"]);
    assert!(first.stderr.contains("run  scores"), "{}", first.stderr);
    let table = ok(first);
    insta::assert_snapshot!(table);
    let second = eval(&world, &["--tasks", "arc-challenge", "--batch", "3", "--json"]);
    assert!(!second.stderr.contains("run  "), "{}", second.stderr);
    let mut shown: Value = serde_json::from_str(&ok(second)).unwrap();
    assert_eq!(
        (&shown["version"], &shown["name"], &shown["asked"]["profile"]),
        (&json!(1), &json!("model"), &json!("native"))
    );
    let scores = shown["tasks"].take();
    assert_eq!(
        (&scores[0]["name"], &scores[0]["metric"], &scores[0]["n"]),
        (&json!("arc-challenge"), &json!("acc_norm"), &json!(3))
    );
}

/// Returns of each eval in the cache how many requests it computed, and how many it knew.
fn requests(world: &World) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(world.path("cache/actions")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let action: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            let count = |name: &str| action["measured"][name].as_f64().map(|count| count as u64);
            found.extend(count("requests_computed").zip(count("requests_known")));
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn what_was_asked_for_fewer_rows_is_not_asked_again() {
    let world = world();
    // Three choices each, after the question and alone; the question of the last row has two.
    ok(eval(&world, &["--tasks", "arc-challenge", "--limit", "2"]));
    assert_eq!(requests(&world), [(12, 0)]);
    ok(eval(&world, &["--tasks", "arc-challenge"]));
    assert_eq!(requests(&world), [(4, 12), (12, 0)]);
}

#[test]
fn the_system_and_the_thinking_stand_in_the_chat() {
    let world = world();
    let template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]\
                    {% if enable_thinking is defined %}({{ enable_thinking }}){% endif %}";
    let path = "model/tokenizer_config.json";
    let mut config: Value = serde_json::from_str(&world.read(path)).unwrap();
    config["chat_template"] = json!(template);
    world.write(path, &config.to_string());
    let prompt = |name: &str, args: &[&str]| {
        let all = ["--tasks", "arc-challenge", "--limit", "1", "--chat-template", "true", "--keep", name];
        ok(eval(&world, &[&all[..], args].concat()));
        let samples = world.read(&format!("{name}/samples/arc-challenge.jsonl"));
        let first: Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
        first["prompt"].as_str().unwrap().to_owned()
    };
    let asked = "[user]Question: Which animal barks?\nAnswer:[assistant]";
    assert_eq!(prompt("bare", &[]), asked);
    assert_eq!(prompt("system", &["--system", "Be short."]), format!("[system]Be short.{asked}"));
    assert_eq!(prompt("thinks", &["--thinking", "true"]), format!("{asked}(True)"));
    assert_eq!(prompt("hurries", &["--thinking", "false"]), format!("{asked}(False)"));
    // Luth's way says both when nobody does.
    let luth = prompt("luth", &["--profile", "luth"]);
    assert_eq!(luth, format!("[system]You are a helpful assistant.{asked}(False)"));
    let silent = prompt("silent", &["--profile", "luth", "--system", ""]);
    assert_eq!(silent, format!("{asked}(False)"));
}

#[test]
fn a_task_file_brings_its_rows_and_runs_are_counted() {
    let world = world();
    let args = ["--tasks", "own.yaml,arc-challenge", "--runs", "2", "--limit", "2", "--chat-template", "false"];
    let shown: Value = serde_json::from_str(&ok(eval(&world, &[&args[..], &["--json"]].concat()))).unwrap();
    let names: Vec<&str> =
        shown["tasks"].as_array().unwrap().iter().map(|score| score["metric"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["f1", "exact_match,first-word"]);
    assert_eq!(shown["groups"].as_array().unwrap().len(), 4);
    assert_eq!(shown["asked"]["runs"], 2);
    // What the command line says about the asking reaches the model.
    let said = ["--system", "Be ${brief}.", "--thinking", "false", "--max-tokens", "2", "--keep", "kept/a"];
    let own = ["eval", "--model", "model", "--tasks", "own.yaml", "--data", "own=own.jsonl"];
    ok(world.run(&[&own[..], &said[..]].concat()));
    let row = world.read("kept/a/samples/own.jsonl");
    let row: Value = serde_json::from_str(row.lines().next().unwrap()).unwrap();
    assert!(row["prompt"].as_str().unwrap().contains("Be ${brief}."), "{row}");
    assert!(row["answers"][0]["tokens"].as_u64().unwrap() <= 2);
}

#[test]
fn results_have_the_layout_of_the_harness() {
    let world = world();
    let args = [
        "--tasks",
        "arc-challenge,own.yaml",
        "--profile",
        "lm-eval",
        "--output",
        "out/results.json",
        "--samples",
        "out",
    ];
    ok(eval(&world, &args));
    let mut results: Value = serde_json::from_str(&world.read("out/results.json")).unwrap();
    assert!(results["date"].as_f64().unwrap() > 1.7e9);
    results["date"] = json!(0);
    let own = |field: &str| results["results"]["own"][field].clone();
    assert!(own("exact_match,first-word").is_number() && own("exact_match_stderr,first-word").is_number());
    assert_eq!(results["group_subtasks"]["own"], json!(["own_cold", "own_warm"]));
    results["results"]["own"] = json!("…");
    results["results"]["own_cold"] = json!("…");
    results["results"]["own_warm"] = json!("…");
    results["groups"]["own"] = json!("…");
    insta::assert_snapshot!(world.tidy(&serde_json::to_string_pretty(&results).unwrap()));
    let lines = |task: &str| -> Vec<Value> {
        let text = world.read(&format!("out/samples_{task}.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let arc = lines("arc-challenge");
    assert_eq!(arc.len(), 3);
    assert_eq!(
        arc[0]["arguments"]["gen_args_1"],
        json!({"arg_0": "Question: Which animal barks?\nAnswer:", "arg_1": " a dog"})
    );
    assert_eq!(
        (&arc[0]["target"], &arc[0]["filter"], &arc[0]["metrics"]),
        (&json!("1"), &json!("none"), &json!(["acc", "acc_norm"]))
    );
    assert!(arc[0]["resps"][2][0][0].as_str().unwrap().parse::<f64>().unwrap() < 0.0);
    let filters: Vec<Value> = lines("own").iter().map(|line| line["filter"].clone()).collect();
    assert_eq!(filters, ["first-word", "none", "first-word", "none"]);
}

#[test]
fn scores_and_rows_of_nodes() {
    let world = ran();
    insta::assert_snapshot!("show", without_digits(&ok(world.run(&["eval", "show", "of_first"]))));
    let shown = world.json(&["eval", "show", "pipeline.yaml", "of_second", "--json"]);
    assert_eq!((&shown["name"], &shown["asked"]["tasks"][0]["limit"]), (&json!("of_second"), &json!(2)));

    let samples = ok(world.run(&["eval", "samples", "of_first"]));
    assert!(samples.lines().all(|line| console::measure_text_width(line) <= 80), "{samples}");
    insta::assert_snapshot!("samples", without_digits(&samples));
    let one = ok(world.run(&["eval", "samples", "of_first", "--row", "2", "--json"]));
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["task"], &one["run"], &one["row"], &one["gold"]),
        (&json!("arc-challenge"), &json!(1), &json!(1), &json!(2))
    );
    let count = |flag: &str| ok(world.run(&["eval", "samples", "of_first", flag, "--json"])).lines().count();
    let right = shown_right(&world);
    assert_eq!((count("--right"), count("--wrong")), (right, 3 - right));
}

/// How many rows the score says are right.
fn shown_right(world: &World) -> usize {
    let shown = world.json(&["eval", "show", "of_first", "--json"]);
    (shown["tasks"][0]["value"].as_f64().unwrap() * 3.0).round() as usize
}

#[test]
fn two_evals_are_compared_row_by_row() {
    let world = ran();
    let compared = world.json(&["eval", "compare", "of_first", "of_second", "--metric", "acc", "--json"]);
    assert_eq!((&compared["first"], &compared["second"]), (&json!("of_first"), &json!("of_second")));
    let task = &compared["tasks"][0];
    assert_eq!(
        (&task["task"], &task["metric"], &task["questions"], &task["left_out"]),
        (&json!("arc-challenge"), &json!("acc"), &json!(2), &json!(1))
    );
    let right = &task["right"];
    let sum: u64 =
        ["both", "only_first", "only_second", "neither"].iter().map(|name| right[name].as_u64().unwrap()).sum();
    assert_eq!(sum, 2);
    // An eval that was kept in a folder is as good as a node.
    ok(eval(&world, &["--tasks", "arc-challenge", "--keep", "kept"]));
    let same = world.json(&["eval", "compare", "./kept", "of_first", "--json"]);
    assert_eq!((&same["tasks"][0]["difference"], &same["tasks"][0]["questions"]), (&json!(0.0), &json!(3)));
}

/// Writes a folder as an eval leaves it: answers in words, and how they were judged.
fn kept(world: &World, name: &str, values: &[f64]) {
    let score = |metric: &str| {
        json!({"name": "words", "type": "own", "metric": metric, "value": 0.5, "stderr": 0.25, "n": values.len(),
            "unit": "share", "higher_is_better": true})
    };
    // BLEU is a score of the whole task, so that rows are judged by the next.
    let scores = json!({"version": 1, "tasks": [score("bleu"), score("maths"), score("prompt_strict")]});
    world.write(&format!("{name}/scores.json"), &scores.to_string());
    let task =
        json!({"name": "words", "task": "own", "shots": 2, "rows": 9, "limit": 6, "chat": true, "definition": {}});
    let record = json!({"version": 1, "program": "luthflow 0", "profile": "luth", "thinking": true, "seed": 3, "runs": 2,
        "tasks": [task]});
    world.write(&format!("{name}/eval.json"), &record.to_string());
    let line = |run: usize, row: usize, value: f64| {
        let prompt = (0..20).map(|line| {
            format!("line {line} of a prompt, with words that go on for longer than a line of eighty columns does\n")
        });
        let long = "une réponse qui n'en finit pas, ".repeat(40);
        let text = if row == 0 { "\u{1b}[31mred\u{7}\u{1b}]0;title\u{7}".to_owned() } else { long };
        let answer = |text: &str| json!({"text": text, "finish_reason": "length", "tokens": 9});
        json!({"row": row, "group": "algebra", "prompt": prompt.collect::<String>(), "prompt_tokens": 99, "truncated": row == 1,
            "answers": [answer(&text), answer("")], "gold": ["18", "dix-huit"],
            "columns": {"instruction_id_list": ["length:words", "keywords:existence"], "kwargs": [{}, {}]},
            "values": {"maths": value, "prompt_strict": 0.0},
            "extracted": {"maths": {"predicted": [run.to_string(), null], "expected": "18"},
                "ifeval": {"strict": [false, true], "loose": [true, true]}}})
    };
    for (run, file) in ["words.jsonl", "words.run2.jsonl"].iter().enumerate() {
        let lines = values.iter().enumerate().map(|(row, value)| format!("{}\n", line(run, row, *value)));
        world.write(&format!("{name}/samples/{file}"), &lines.collect::<String>());
    }
}

/// The figures are those of the paired t test and of the sign test, by hand: differences 0, 1, 1, -1, 1, 0.
#[test]
fn answers_and_figures_are_shown_to_the_digit() {
    let world = World::empty();
    kept(&world, "a", &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    kept(&world, "b", &[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
    insta::assert_snapshot!("compare", ok(world.run(&["eval", "compare", "./a", "./b"])));
    let compared = world.json(&["eval", "compare", "a/", "b/", "--json"]);
    let figure = |name: &str| compared["tasks"][0][name].as_f64().unwrap();
    assert!((figure("difference") - 1.0 / 3.0).abs() < 1e-12);
    assert!((figure("stderr") - (10.0_f64 / 3.0 / 5.0 / 6.0).sqrt()).abs() < 1e-12);
    assert_eq!(compared["tasks"][0]["right"]["p"], 0.625);

    let shown = ok(world.run(&["eval", "samples", "./a", "--limit", "2"]));
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    assert!(shown.lines().all(|line| console::measure_text_width(line) <= 80), "{shown}");
    insta::assert_snapshot!("answers", shown);
    let whole = ok(world.run(&["eval", "samples", "./a", "--row", "2"]));
    assert!(whole.matches("finit").count() > 70 && whole.contains("  line 0 of a prompt"), "{whole}");
    insta::assert_snapshot!("show_of_runs", ok(world.run(&["eval", "show", "./a", "--groups"])));
}

#[test]
fn a_page_of_rows_holds_what_was_said_as_data() {
    let world = ran();
    ok(world.run(&["eval", "samples", "of_first", "--html", "page.html"]));
    let page = world.read("page.html");
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2));
    assert!(!page.contains("alert(1)</script>") && !page.contains("<!-- x"));
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let row = &data["tasks"][0]["rows"][1];
    assert!(row["prompt"].as_str().unwrap().contains("</script><script>alert(1)</script> & <b>?"));
    assert_eq!((&row["right"], &data["tasks"][0]["metric"]), (&json!([2]), &json!("acc_norm")));
    ok(world.run(&["eval", "samples", "of_first", "--right", "--html", "right.html"]));
    assert_eq!(world.read("right.html").matches("\"verdict\":").count(), shown_right(&world));
}

#[test]
fn tasks_are_listed_and_printed_as_task_files() {
    let world = world();
    let list = ok(world.run(&["eval", "tasks"]));
    assert!(list.contains("arc-challenge  en fr"), "{list}");
    let listed = world.json(&["eval", "tasks", "--json"]);
    let arc = listed["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "arc-challenge").unwrap();
    assert_eq!((&arc["languages"], &arc["dataset"]), (&json!(["en", "fr"]), &json!("hf://datasets/allenai/ai2_arc")));
    let printed = ok(world.run(&["eval", "tasks", "arc-challenge", "--profile", "lm-eval"]));
    insta::assert_snapshot!(printed);
    // What is printed is a task file: it gives the same scores.
    world.write("printed.yaml", &printed);
    let scores = |args: &[&str]| {
        let shown: Value = serde_json::from_str(&ok(
            world.run(&[&["eval", "--model", "model", "--profile", "lm-eval", "--json"], args].concat())
        ))
        .unwrap();
        shown["tasks"].clone()
    };
    let data = ["--data", "arc-challenge=arc.jsonl"];
    assert_eq!(
        scores(&[&["--tasks", "printed.yaml"], &data[..]].concat()),
        scores(&[&["--tasks", "arc-challenge"], &data[..]].concat())
    );
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_runs() {
    let world = world();
    let mut told = String::new();
    let mut tell = |args: &[&str]| {
        let said = wrong(&world, args);
        told.extend(["$ luthflow ", &args.join(" "), "\n", said.trim_end(), "\n\n"]);
    };
    tell(&["eval", "--model", "model", "--tasks", "arc-chalenge"]);
    tell(&["eval", "--model", "nowhere", "--tasks", "arc-challenge"]);
    tell(&["eval", "--model", "model", "--tasks", "arc-challenge", "--data", "arc=arc.jsonl"]);
    tell(&["eval", "--model", "model", "--tasks", "arc-challenge", "--data", "arc-challenge=no.jsonl"]);
    tell(&["eval", "--model", "model", "--tasks", "arc-challenge", "--data", "arc.jsonl"]);
    tell(&[
        "eval",
        "--model",
        "model",
        "--tasks",
        "arc-challenge",
        "--data",
        "arc-challenge=arc.jsonl",
        "--limit",
        "0",
    ]);
    tell(&["eval", "--model", "model", "--tasks", "arc.yaml"]);
    tell(&["eval", "--model", "model", "--tasks", "own.yaml", "--shots", "2"]);
    tell(&["eval", "tasks", "arc-challenge-de"]);
    world.write("bad.yaml", &OWN.replacen("{{colour}}", "{{colour", 1));
    tell(&["eval", "--model", "model", "--tasks", "bad.yaml", "--data", "own=own.jsonl"]);
    world.write("worse.yaml", &OWN.replacen("task: own", "task: own\nanswers: none", 1));
    tell(&["eval", "--model", "model", "--tasks", "arc-challenge,worse.yaml", "--data", "own=own.jsonl"]);
    world.write("no-name.yaml", "about: nothing\n");
    tell(&["eval", "--model", "model", "--tasks", "no-name.yaml"]);
    assert!(!world.path("cache/objects").exists());
    insta::assert_snapshot!(told);

    // Rows that are neither here nor in a lockfile are not to be had without the network.
    let ran = world
        .command(&["eval", "--model", "model", "--tasks", "arc-challenge"])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("allenai/ai2_arc") && said.contains("--data TASK=FILE"), "{said}");
}

#[test]
fn what_cannot_be_shown_says_why() {
    let world = ran();
    let mut told = String::new();
    let mut tell = |args: &[&str]| {
        let said = wrong(&world, args);
        told.extend(["$ luthflow ", &args.join(" "), "\n", said.trim_end(), "\n\n"]);
    };
    tell(&["eval", "show", "of_frist"]);
    tell(&["eval", "show", "rows"]);
    tell(&["eval", "show", "of_first", "--set", "x=1"]);
    tell(&["eval", "samples", "of_first", "--task", "text"]);
    tell(&["eval", "samples", "of_first", "--task", "arc"]);
    tell(&["eval", "samples", "only_text"]);
    tell(&["eval", "samples", "of_second", "--row", "3"]);
    tell(&["eval", "compare", "of_first"]);
    tell(&["eval", "compare", "of_first", "of_second", "--metric", "acc_nrm"]);
    world.edit("data: rows, limit: 2", "data: rows, limit: 1");
    tell(&["eval", "show", "of_second"]);
    insta::assert_snapshot!(told);
}
