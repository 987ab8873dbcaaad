//! Luth's pipelines: all five models, from the hub to the tables, on models of a few thousand weights and real rows of the same shape
//! (`--profile smoke`); and the figures that were published, beside what was measured.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hub::server::Hub;
use crate::op::repository;
use crate::smoke_models;
use crate::world::{Finished, Ran, World};

/// The vocabulary of the two models; all else of them is `smoke_models`.
const VOCABULARY: &str = "\
version: 1
nodes:
  text: {kind: source, dataset: text.jsonl}
  bpe: {kind: tokenizer, data: [text], vocab_size: 400}
";

/// A data set on the hub: its name, its configuration, its files and the fixture that each one holds.
type Set = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SETS: &[Set] = &[
    ("google/IFEval", "", &[("train.jsonl", "ifeval")]),
    ("jzhang86/fr_ifeval", "", &[("train.jsonl", "ifeval_fr")]),
    ("Idavidrein/gpqa", "gpqa_diamond", &[("train.jsonl", "gpqa")]),
    ("le-leadboard/gpqa-fr", "gpqa_diamond", &[("train.jsonl", "gpqa_fr")]),
    ("openai/MMMLU", "FR_FR", &[("test.jsonl", "exams_fr_mmmlu")]),
    ("cais/mmlu", "all", &[("test.jsonl", "mmlu"), ("dev.jsonl", "mmlu_dev")]),
    ("bezir/MATH-500-multilingual", "French", &[("test.jsonl", "math_500")]),
    ("HuggingFaceH4/MATH-500", "", &[("test.jsonl", "math_500")]),
    ("manu/french_bench_arc_challenge", "", &[("test.jsonl", "exams_fr")]),
    ("allenai/ai2_arc", "ARC-Challenge", &[("test.jsonl", "arc_challenge")]),
    ("manu/french_bench_hellaswag", "", &[("validation.jsonl", "hellaswag")]),
    ("Rowan/hellaswag", "", &[("validation.jsonl", "hellaswag")]),
];

/// The model of the profile `small`.
pub(crate) const SMALL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

pub(crate) const COMMIT: &str = "038c7808122969ead7456361af05cb8f47d247f8";

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fs_err::read(repository().join(format!("tests/fixtures/eval/data/{name}.jsonl"))).unwrap()
}

/// A hub with everything that Luth's pipelines ask for, and a world with the pipelines.
pub(crate) fn world() -> (World, Hub) {
    let (world, hub) = (World::empty(), Hub::start());
    let chats = fs_err::read(repository().join("pipelines/data/fr_chats/oasst1_fr.jsonl")).unwrap();
    world.write("models/text.jsonl", &String::from_utf8(chats.clone()).unwrap());
    world.write("models/pipeline.yaml", VOCABULARY);
    let ran = world.run(&["--cache-dir", "models/cache", "run", "models/pipeline.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = world.json(&["--cache-dir", "models/cache", "show", "bpe", "-p", "models/pipeline.yaml", "--json"]);
    let trained = PathBuf::from(shown["path"].as_str().unwrap());
    for (name, family) in [("smoke/qwen3", "qwen3"), ("smoke/lfm2", "lfm2"), (SMALL, "qwen3")] {
        let files = smoke_models::files(&trained, family);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        hub.commit(&format!("models/{name}"), "main", COMMIT, &files);
    }
    hub.commit("datasets/kurakurai/luth-sft", "main", COMMIT, &[("data.jsonl", &chats)]);
    for (name, config, files) in SETS {
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        if !config.is_empty() {
            let splits = files.iter().map(|(file, _)| {
                format!("  - split: {}\n    path: {config}/{file}\n", file.trim_end_matches(".jsonl"))
            });
            let splits: Vec<String> = splits.collect();
            let card = format!("---\nconfigs:\n- config_name: {config}\n  data_files:\n{}---\n", splits.concat());
            all.push(("README.md".into(), card.into_bytes()));
        }
        for (file, rows) in *files {
            let place = if config.is_empty() { (*file).to_owned() } else { format!("{config}/{file}") };
            all.push((place, fixture(rows)));
        }
        let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        hub.commit(&format!("datasets/{name}"), "main", COMMIT, &all);
    }
    copy(&world, "pipelines/luth");
    copy(&world, "pipelines/luth/parts");
    world.write(
        "pipelines/luth-sft.yaml",
        &fs_err::read_to_string(repository().join("pipelines/luth-sft.yaml")).unwrap(),
    );
    (world, hub)
}

fn copy(world: &World, folder: &str) {
    for entry in fs_err::read_dir(repository().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap();
            world.write(&format!("{folder}/{name}"), &fs_err::read_to_string(&path).unwrap());
        }
    }
}

pub(crate) fn run(world: &World, hub: &Hub, args: &[&str]) -> Ran {
    let output = world.command(args).env("HF_ENDPOINT", &hub.url).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn all_five_models_run_from_the_hub_to_their_tables() {
    let (world, hub) = world();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    for model in ["luth-0.6b", "luth-1.7b", "luth-lfm2-350m", "luth-lfm2-700m", "luth-lfm2-1.2b"] {
        let file = format!("pipelines/luth/{model}.yaml");
        let ran = run(&world, &hub, &["run", "--json", "--profile", "smoke", &file]);
        assert_eq!(ran.code, 0, "{model}: {}\n{}", ran.stdout, ran.stderr);
        let finished = Finished::read(&ran);
        assert!(finished.failed.is_empty() && finished.skipped.is_empty(), "{model}");
        let plan = run(&world, &hub, &["plan", "--json", "--profile", "smoke", &file]);
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        for node in plan["nodes"].as_array().unwrap() {
            assert_eq!(node["state"], "fresh", "{model}: {node}");
            kinds.insert(node["kind"].as_str().unwrap().to_owned());
        }
        // Twelve benchmarks, each with its number.
        let shown = run(&world, &hub, &["show", "scores_base", "--json", "--profile", "smoke", "-p", &file]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        for metric in [
            "ifeval-fr.prompt_strict",
            "gpqa-diamond-fr.letter",
            "mmlu-fr.acc",
            "math-500-fr.maths",
            "arc-challenge-fr.acc",
            "hellaswag-fr.pqem",
            "ifeval.prompt_strict",
            "gpqa-diamond.letter",
            "mmlu.acc",
            "math-500.maths",
            "arc-challenge.acc",
            "hellaswag.acc_norm",
        ] {
            assert!(shown["metrics"][metric].is_number(), "{model} {metric}: {}", shown["metrics"]);
        }
    }
    let all = ["curate", "eval", "merge", "report", "select", "sft", "source"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

/// The profile `small` is the same graph with other numbers; here its model is a small one behind its name.
#[test]
fn the_small_profile_runs_the_same_graph() {
    let (world, hub) = world();
    for model in ["luth-0.6b", "luth-lfm2-1.2b"] {
        let file = format!("pipelines/luth/{model}.yaml");
        // 2,000 rows of the whole set's mean length are more than enough for every step that it takes.
        let plan = run(&world, &hub, &["plan", "--estimate", "--json", "--profile", "small", &file]);
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        let sft = plan["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "sft").unwrap();
        let tokens = sft["estimate"]["tokens"]["value"].as_f64().unwrap();
        assert!((60.0 * 3000.0..=60.0 * 4096.0).contains(&tokens), "{model}: {sft}");
        let fewer = ["--set", "limit=1", "--set", "max_tokens=2", "--set", "max_steps=2", "--set", "rows=32"];
        let ran = run(&world, &hub, &[&["run", "--json", "--profile", "small"][..], &fewer, &[&file]].concat());
        assert_eq!(ran.code, 0, "{model}: {}\n{}", ran.stdout, ran.stderr);
        let names = |profile: &str| -> BTreeSet<String> {
            let plan = run(&world, &hub, &["plan", "--json", "--profile", profile, &file]);
            let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
            let nodes = plan["nodes"].as_array().unwrap().iter();
            nodes.map(|node| node["name"].as_str().unwrap().split('[').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names("small"), names("smoke"), "{model}");
    }
}

#[test]
fn what_was_published_stands_beside_what_was_measured() {
    let (world, hub) = world();
    let file = "pipelines/luth/luth-0.6b.yaml";
    // The published tables, for the smoke run: no cell is reproduced by models of random weights, and every one is judged.
    let published = world.read("pipelines/luth/luth-0.6b.lock");
    let ran = run(&world, &hub, &["run", "--profile", "smoke", file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lock = Path::new("pipelines/luth/luth-0.6b.smoke.lock");
    let tables = published.split_once("published:").unwrap().1;
    world.write(lock.to_str().unwrap(), &format!("{}published:{tables}", world.read(lock.to_str().unwrap())));
    let verified = run(&world, &hub, &["verify", "--json", "--profile", "smoke", file]);
    assert_eq!(verified.code, 3, "{}\n{}", verified.stdout, verified.stderr);
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    let text = report.to_string();
    assert!(text.contains("not run") || text.contains("not_run"), "{text}");
    assert!(text.contains("\"off\""), "{text}");
    assert_eq!(json!(report["version"]), json!(1));
}

#[test]
fn a_curation_keeps_clear_of_tasks_by_name() {
    let (world, hub) = world();
    let questions = String::from_utf8(fixture("exams_fr_mmmlu")).unwrap();
    let longest = questions.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let longest = longest.max_by_key(|row| row["Question"].as_str().unwrap().split_whitespace().count()).unwrap();
    let given_away = longest["Question"].as_str().unwrap();
    let rows =
        [json!({"text": format!("À savoir par cœur : {given_away}")}), json!({"text": "Le chat dort sur le mur."})];
    world.write("rows.jsonl", &rows.iter().map(|row| row.to_string() + "\n").collect::<String>());
    let pipeline = json!({
        "version": 1,
        "nodes": {
            "rows": {"kind": "source", "dataset": "rows.jsonl"},
            "clean": {"kind": "curate", "from": ["rows"],
                "steps": [{"decontaminate": {"evals": ["mmlu-fr", {"task": "ifeval", "fields": ["prompt"]}]}}]},
        },
    });
    world.write("clean.yaml", &pipeline.to_string());
    let ran = run(&world, &hub, &["run", "clean.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let left = run(&world, &hub, &["data", "head", "clean", "--json", "-p", "clean.yaml"]);
    assert_eq!(left.stdout.trim(), rows[1].to_string(), "{}", left.stderr);
    // A task that there is not is told with those that are near.
    world.write("clean.yaml", &pipeline.to_string().replace("mmlu-fr", "mmlu-frr"));
    let checked = run(&world, &hub, &["check", "clean.yaml"]);
    assert!(checked.code != 0 && checked.stderr.contains("did you mean `mmlu-fr`?"), "{}", checked.stderr);
}

/// What `luth-sft.yaml` keeps clear of: every column that it names is there, and what gives an item of a set away goes.
#[test]
fn luth_sft_keeps_clear_of_the_twelve_examinations() {
    let (world, hub) = world();
    let fixtures = [
        ("ifeval-fr", "ifeval_fr"),
        ("ifeval", "ifeval"),
        ("gpqa-diamond-fr", "gpqa_fr"),
        ("gpqa-diamond", "gpqa"),
        ("mmlu-fr", "exams_fr_mmmlu"),
        ("mmlu", "mmlu"),
        ("math-500-fr", "math_500"),
        ("math-500", "math_500"),
        ("arc-challenge-fr", "exams_fr"),
        ("arc-challenge", "arc_challenge"),
        ("hellaswag-fr", "hellaswag"),
        ("hellaswag", "hellaswag"),
    ];
    let mut evals = evals_of_luth_sft();
    // Luth's other two are not on this hub.
    evals.retain(|set| set["task"] != "kholle" && !set["task"].as_str().unwrap().starts_with("aime24"));
    let named: Vec<&str> = evals.iter().map(|set| set["task"].as_str().unwrap()).collect();
    assert_eq!(named, fixtures.map(|(task, _)| task));
    let given_away = evals.iter().zip(fixtures).map(|(set, (_, file))| {
        let rows = String::from_utf8(fixture(file)).unwrap();
        let asked = |line: &str| -> String {
            let row: Value = serde_json::from_str(line).unwrap();
            row[set["fields"][0].as_str().unwrap()].as_str().unwrap().to_owned()
        };
        let longest = rows.lines().map(asked).max_by_key(|text| text.split_whitespace().count()).unwrap();
        json!({"text": format!("À savoir par cœur : {longest}")})
    });
    let kept = json!({"text": "Le chat dort sur le mur, et personne ne l'appelle."});
    let rows: Vec<Value> = given_away.chain([kept.clone()]).collect();
    world.write("rows.jsonl", &rows.iter().map(|row| row.to_string() + "\n").collect::<String>());
    let steps = json!([{"decontaminate": {"evals": evals}}]);
    let nodes = json!({"rows": {"kind": "source", "dataset": "rows.jsonl"},
        "clean": {"kind": "curate", "from": ["rows"], "steps": steps}});
    world.write("clean.yaml", &json!({"version": 1, "nodes": nodes}).to_string());
    let ran = run(&world, &hub, &["run", "clean.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let left = run(&world, &hub, &["data", "head", "clean", "-n", "20", "--json", "-p", "clean.yaml"]);
    assert_eq!(left.stdout.trim(), kept.to_string(), "{}", left.stderr);
    // Whoever takes the long way is not told that nothing was searched for.
    let checked = run(&world, &hub, &["check", "pipelines/luth/luth-0.6b-from-sources.yaml"]);
    assert!(checked.code == 0 && !checked.stderr.contains("no data was searched"), "{}", checked.stderr);
}

/// The evaluation sets of the shipped pipeline, as they are written there.
fn evals_of_luth_sft() -> Vec<Value> {
    let main = luthflow::spec::SourceFile {
        path: "luth-sft.yaml".into(),
        text: fs_err::read_to_string(repository().join("pipelines/luth-sft.yaml")).unwrap(),
    };
    let parsed = luthflow::spec::parse_files(main, "x", &luthflow::spec::Overrides::default(), &|_| {
        Err("it includes nothing".into())
    });
    let pipeline = parsed.pipeline.unwrap();
    let node = pipeline.nodes.iter().find(|node| node.name == "luth_sft").unwrap();
    let steps = node.fields["steps"].as_array().unwrap().iter();
    let evals = steps.filter_map(|step| step["decontaminate"]["evals"].as_array()).flatten();
    let written = |set: &Value| json!({"task": set["task"], "fields": set["fields"]});
    evals.map(written).collect()
}
