//! Scores and rows in the layout of lm-evaluation-harness 0.4 (`results_*.json`, `samples_*.jsonl`), for what reads these.
//!
//! A score there is called `<metric>,<filter>`, and `none` is the filter of one that takes nothing out of an answer. A score
//! whose name holds a comma already (`exact_match,strict-match`) is such a pair. The groups of a task are tasks of their own
//! below it. `doc` holds what an eval keeps of a row, which is not all of its columns; so `doc_hash` is no hash of theirs,
//! but `prompt_hash` and `target_hash` are.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::record::{EvalRecord, TaskRecord};
use super::samples::Sampled;
use super::scores::{Score, Scores};

/// What else is told of an eval.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The model, as the user named it.
    pub model: String,
    /// What it was computed on.
    pub device: String,
    /// How many answers were written at once.
    pub batch: usize,
    /// When it was, in seconds since 1970.
    pub date: f64,
}

/// Returns `results.json`. The record is that of an eval that asked tasks by row.
pub fn results(scores: &Scores, record: Option<&EvalRecord>, about: &About) -> Value {
    let mut out = Sections::default();
    for score in scores.tasks.iter().chain(&scores.groups) {
        out.add(score, record.and_then(|record| record.task(&score.name)));
    }
    let limit = record.and_then(|record| record.tasks.iter().find_map(|task| task.limit));
    let seed = record.map_or(0, |record| record.seed);
    json!({
        "results": out.results,
        "groups": out.groups,
        "group_subtasks": out.subtasks,
        "configs": out.configs,
        "versions": out.versions,
        "n-shot": out.shots,
        "higher_is_better": out.higher,
        "n-samples": out.samples,
        "config": {
            "model": "luthflow",
            "model_args": {"pretrained": about.model},
            "batch_size": about.batch.to_string(),
            "batch_sizes": [],
            "device": about.device,
            "use_cache": null,
            "limit": limit,
            "bootstrap_iters": 1000,
            "gen_kwargs": null,
            "random_seed": seed,
            "numpy_seed": seed,
            "torch_seed": seed,
            "fewshot_seed": seed,
        },
        "git_hash": null,
        "date": about.date,
        "luthflow": record.map(|record| json!({"program": record.program, "profile": record.profile})),
        "system_instruction": record.and_then(|record| record.system.clone()),
        "system_instruction_sha": record.and_then(|record| record.system.as_deref().map(sha256)),
        "fewshot_as_multiturn": record.map(|record| record.tasks.iter().any(as_turns)),
        "chat_template_digest": record.and_then(|record| record.chat_template.clone()),
        "model_source": "luthflow",
        "model_name": about.model,
        "model_name_sanitized": about.model.replace(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)), "__"),
    })
}

fn as_turns(task: &TaskRecord) -> bool {
    task.chat && task.shots > 0 && task.definition["fewshot"]["as_turns"] != false
}

/// The parts of a result file, by task.
#[derive(Default)]
struct Sections {
    results: Map<String, Value>,
    groups: Map<String, Value>,
    subtasks: Map<String, Value>,
    configs: Map<String, Value>,
    versions: Map<String, Value>,
    shots: Map<String, Value>,
    higher: Map<String, Value>,
    samples: Map<String, Value>,
}

impl Sections {
    fn add(&mut self, score: &Score, asked: Option<&TaskRecord>) {
        let name = match &score.group {
            Some(group) => format!("{}_{}", score.name, group.replace(' ', "_")),
            None => score.name.clone(),
        };
        if !self.results.contains_key(&name) {
            self.begin(&name, score, asked);
        }
        let (metric, filter) = parts(&score.metric);
        let values = [
            (format!("{metric},{filter}"), json!(score.value)),
            (format!("{metric}_stderr,{filter}"), score.stderr.map_or_else(|| "N/A".into(), Value::from)),
        ];
        for (field, value) in values {
            self.results[&name][&field] = value.clone();
            if let Some(group) = self.groups.get_mut(&name) {
                group[&field] = value;
            }
        }
        self.higher[&name][metric] = score.higher_is_better.into();
    }

    fn begin(&mut self, name: &str, score: &Score, asked: Option<&TaskRecord>) {
        let alias = score.group.as_deref().unwrap_or(name);
        let result = json!({"name": name, "alias": alias, "sample_len": score.n});
        self.results.insert(name.to_owned(), result);
        self.higher.insert(name.to_owned(), json!({}));
        self.versions.insert(name.to_owned(), 1.into());
        self.shots.insert(name.to_owned(), asked.map_or(0, |task| task.shots).into());
        let original = match (asked, &score.group) {
            (Some(task), None) => task.rows.max(score.n),
            _ => score.n,
        };
        self.samples.insert(name.to_owned(), json!({"original": original, "effective": score.n}));
        if score.group.is_none() {
            self.subtasks.insert(name.to_owned(), json!([]));
            self.configs.insert(name.to_owned(), config(name, score, asked));
            return;
        }
        // The task is a group of its groups.
        if let Some(Value::Array(below)) = self.subtasks.get_mut(&score.name) {
            below.push(name.into());
        }
        if let (false, Some(whole)) = (self.groups.contains_key(&score.name), self.results.get(&score.name)) {
            self.groups.insert(score.name.clone(), whole.clone());
        }
    }
}

/// Returns what a result file tells of a task.
fn config(name: &str, score: &Score, asked: Option<&TaskRecord>) -> Value {
    let Some(asked) = asked else { return json!({"task": name, "output_type": output_type(&score.kind)}) };
    let definition = &asked.definition;
    let kind = definition["request"].as_object().and_then(|request| request.keys().next()).map_or("", String::as_str);
    let mut config = json!({
        "task": name,
        "output_type": output_type(kind),
        "num_fewshot": asked.shots,
        "metric_list": definition["metrics"],
        "doc_to_text": definition["prompt"],
        "description": definition["instruction"].as_str().unwrap_or(""),
        "fewshot_delimiter": definition["fewshot"]["between"],
        "metadata": {"task": asked.task, "language": asked.language, "definition": definition},
    });
    if kind == "generate" {
        config["generation_kwargs"] = settings(asked);
    }
    config
}

fn output_type(kind: &str) -> &'static str {
    match kind {
        "choices" | "pair" | "minimal_pairs" => "multiple_choice",
        "text" | "bits_per_byte" => "loglikelihood_rolling",
        _ => "generate_until",
    }
}

/// Returns how answers were written.
fn settings(asked: &TaskRecord) -> Value {
    let generate = &asked.definition["request"]["generate"];
    let temperature = generate["temperature"].as_f64().unwrap_or(0.0);
    json!({
        "until": generate.get("stop").cloned().unwrap_or_else(|| json!([])),
        "max_gen_toks": generate["max_tokens"],
        "do_sample": temperature > 0.0,
        "temperature": temperature,
    })
}

/// Returns the metric and the filter of a score.
fn parts(name: &str) -> (&str, &str) {
    name.split_once(',').unwrap_or((name, "none"))
}

/// Returns the lines of `samples_<task>.jsonl`: one for each row and filter.
pub fn samples(rows: &[Sampled], asked: &TaskRecord) -> Vec<Value> {
    rows.iter().flat_map(|row| sample(row, asked)).collect()
}

fn sample(row: &Sampled, asked: &TaskRecord) -> Vec<Value> {
    let mut filters: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for name in row.values.keys() {
        let (metric, filter) = parts(name);
        filters.entry(filter).or_default().push((metric, name));
    }
    if filters.is_empty() {
        filters.insert("none", Vec::new());
    }
    let target = row.gold.as_str().map_or_else(|| row.gold.to_string(), str::to_owned);
    let mut doc = row.columns.clone();
    doc.insert("row".to_owned(), row.row.into());
    let doc = Value::Object(doc);
    let doc_hash = sha256(&serde_json::to_string_pretty(&doc).unwrap_or_default());
    let (arguments, responses) = requests(row, asked);
    let one = |(filter, metrics): (&str, Vec<(&str, &str)>)| {
        let filtered = filtered(row, &responses, metrics.first().map(|(_, name)| *name));
        let mut out = json!({
            "doc_id": row.row, "doc": doc, "target": target, "arguments": arguments, "resps": responses,
            "filtered_resps": filtered, "filter": filter,
            "metrics": metrics.iter().map(|(metric, _)| *metric).collect::<Vec<_>>(),
            "doc_hash": doc_hash, "prompt_hash": sha256(&row.prompt), "target_hash": sha256(&target),
        });
        for (metric, name) in metrics {
            out[metric] = row.values[name].clone();
        }
        out
    };
    filters.into_iter().map(one).collect()
}

/// Returns what the model was asked, and what it said each time: all texts, as the harness writes them.
fn requests(row: &Sampled, asked: &TaskRecord) -> (Value, Vec<Value>) {
    let mut arguments = Map::new();
    let mut put = |place: usize, first: Value, second: Option<Value>| {
        let mut argument = json!({"arg_0": first});
        if let Some(second) = second {
            argument["arg_1"] = second;
        }
        arguments.insert(format!("gen_args_{place}"), argument);
    };
    let mut responses = Vec::new();
    if row.answers.is_empty() {
        let whole = row.choices.len() == 1 && row.prompt.is_empty();
        for (place, choice) in row.choices.iter().enumerate() {
            if whole {
                put(place, choice.text.clone().into(), None);
                responses.push(json!([choice.sum.to_string()]));
            } else {
                put(place, row.prompt.clone().into(), Some(choice.text.clone().into()));
                let greedy = if choice.greedy { "True" } else { "False" };
                responses.push(json!([[choice.sum.to_string(), greedy]]));
            }
        }
    } else {
        put(0, row.prompt.clone().into(), Some(settings(asked)));
        responses.push(row.answers.iter().map(|answer| answer.text.as_str()).collect());
    }
    (Value::Object(arguments), responses)
}

/// Returns what a filter leaves of the answers: what the judge took out, or else the first answer to each request.
fn filtered(row: &Sampled, responses: &[Value], score: Option<&str>) -> Vec<Value> {
    let taken = score.and_then(|score| row.extracted.get(score)?.get("predicted")).filter(|taken| !taken.is_null());
    match taken {
        Some(Value::Array(all)) => all.iter().take(1).cloned().collect(),
        Some(one) => vec![one.clone()],
        None => responses.iter().map(|response| response[0].clone()).collect(),
    }
}

fn sha256(text: &str) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    Sha256::digest(text.as_bytes()).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Likely, Written};
    use super::*;

    fn score(metric: &str, group: Option<&str>) -> Score {
        Score {
            name: "mmlu".into(),
            metric: metric.into(),
            group: group.map(str::to_owned),
            value: 0.5,
            stderr: group.is_none().then_some(0.25),
            n: 4,
            higher_is_better: true,
            ..Score::default()
        }
    }

    fn asked() -> TaskRecord {
        let definition = json!({"request": {"generate": {"max_tokens": 8, "stop": ["\n"]}}, "metrics": ["em"]});
        TaskRecord {
            name: "mmlu".into(),
            task: "mmlu".into(),
            language: None,
            shots: 5,
            limit: Some(4),
            rows: 10,
            chat: true,
            definition,
        }
    }

    #[test]
    fn scores_are_named_with_their_filter_and_groups_stand_below_their_task() {
        let all = vec![score("acc", None), score("exact_match,strict-match", None), score("acc", Some("high school"))];
        let record = EvalRecord {
            version: 1,
            program: "luthflow 0".into(),
            profile: "native".into(),
            system: None,
            thinking: None,
            exit: None,
            chat_template: None,
            seed: 3,
            runs: 1,
            tasks: vec![asked()],
        };
        let results = results(&Scores::new(all), Some(&record), &About::default());
        assert_eq!(results["results"]["mmlu"]["acc,none"], 0.5);
        assert_eq!(results["results"]["mmlu"]["exact_match_stderr,strict-match"], 0.25);
        assert_eq!(results["results"]["mmlu_high_school"]["acc_stderr,none"], "N/A");
        assert_eq!(results["group_subtasks"]["mmlu"], json!(["mmlu_high_school"]));
        assert_eq!(results["groups"]["mmlu"]["exact_match,strict-match"], 0.5);
        assert_eq!(results["n-samples"]["mmlu"], json!({"original": 10, "effective": 4}));
        assert_eq!(results["higher_is_better"]["mmlu"], json!({"acc": true, "exact_match": true}));
        assert_eq!((&results["n-shot"]["mmlu"], &results["config"]["limit"]), (&json!(5), &json!(4)));
        assert_eq!(results["configs"]["mmlu"]["generation_kwargs"]["until"], json!(["\n"]));
    }

    #[test]
    fn a_row_has_a_line_for_each_filter() {
        let mut row = Sampled { row: 2, prompt: "Q".into(), gold: "5".into(), ..Sampled::default() };
        row.answers = vec![Written { text: "so 5".into(), ..Written::default() }];
        row.values = json!({"exact_match,a": 1.0, "exact_match,b": 0.0}).as_object().unwrap().clone();
        row.extracted = json!({"exact_match,a": {"predicted": "5"}}).as_object().unwrap().clone();
        let lines = samples(&[row], &asked());
        assert_eq!((lines.len(), &lines[0]["filter"], &lines[1]["filter"]), (2, &json!("a"), &json!("b")));
        assert_eq!((&lines[0]["filtered_resps"], &lines[1]["filtered_resps"]), (&json!(["5"]), &json!(["so 5"])));
        assert_eq!((&lines[0]["exact_match"], &lines[1]["exact_match"]), (&json!(1.0), &json!(0.0)));
        assert_eq!(lines[0]["resps"], json!([["so 5"]]));
        assert_eq!(lines[0]["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"], 8);
        // `printf Q | sha256sum`
        let hash = "4ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260";
        assert_eq!(lines[0]["prompt_hash"], hash);
    }

    #[test]
    fn likelihoods_are_texts() {
        let likely = |text: &str| Likely { text: text.into(), sum: -1.5, tokens: 1, greedy: true, alone: None };
        let row = Sampled { prompt: "Q".into(), choices: vec![likely(" a"), likely(" b")], ..Sampled::default() };
        let line = &samples(&[row], &asked())[0];
        assert_eq!(line["arguments"]["gen_args_1"], json!({"arg_0": "Q", "arg_1": " b"}));
        assert_eq!(line["resps"], json!([[["-1.5", "True"]], [["-1.5", "True"]]]));
        assert_eq!(line["filtered_resps"], json!([["-1.5", "True"], ["-1.5", "True"]]));
    }
}
