//! Luth's pipeline by its profile `small`, with the real weights of the model that it names: an hour of two cores, and so only where
//! `LUTHFLOW_SMALL=FOLDER` asks for it. The folder keeps the cache, so that a run that was stopped goes on, and what is to be read:
//! the estimate, the events, the lockfile, the report, the scores and what `verify` says.

use std::path::{Path, PathBuf};
use std::time::Instant;

use luthflow::spec::lock::Lock;
use serde_json::{Value, json};

use crate::gguf::import;
use crate::hub::server::Hub;
use crate::luth::{COMMIT, SMALL, run, world};
use crate::real::fetched;
use crate::world::{Finished, Ran, World};

const FILE: &str = "pipelines/luth/luth-0.6b.yaml";

/// The lockfile of the profile.
const LOCK: &str = "pipelines/luth/luth-0.6b.small.lock";

/// The folder that keeps everything, and what is asked.
struct Small {
    world: World,
    hub: Hub,
    folder: PathBuf,
}

impl Small {
    fn ask(&self, args: &[&str]) -> Ran {
        let cache = self.folder.join("cache");
        let all = [args, &["--cache-dir", cache.to_str().unwrap(), "--profile", "small"]].concat();
        run(&self.world, &self.hub, &all)
    }

    fn keep(&self, name: &str, text: &str) {
        fs_err::write(self.folder.join(name), text).unwrap();
    }

    /// Keeps what is known of a node and its small files: no weights.
    fn keep_node(&self, node: &str) {
        let shown = self.ask(&["show", node, "--json", "-p", FILE]);
        self.keep(&format!("{node}.json"), &shown.stdout);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        for entry in fs_err::read_dir(Path::new(shown["path"].as_str().unwrap())).unwrap().map(Result::unwrap) {
            let about = entry.metadata().unwrap();
            if about.is_file() && about.len() < 1 << 20 {
                let name = format!("{node}.{}", entry.file_name().to_str().unwrap());
                fs_err::write(self.folder.join(name), fs_err::read(entry.path()).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn the_small_profile_gives_real_numbers() {
    let Some(folder) = std::env::var_os("LUTHFLOW_SMALL").map(PathBuf::from) else { return };
    fs_err::create_dir_all(&folder).unwrap();
    let (world, hub) = world();
    serve_the_model(&hub);
    let small = Small { world, hub, folder };
    small.keep("estimate.txt", &small.ask(&["plan", "--estimate", FILE]).stdout);
    let start = Instant::now();
    let ran = small.ask(&["run", "--json", FILE]);
    small.keep("events.jsonl", &ran.stdout);
    small.keep("run.txt", &format!("exit {} after {} s\n{}", ran.code, start.elapsed().as_secs(), ran.stderr));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    small.keep("luth-0.6b.small.lock", &small.world.read(LOCK));
    let again = Finished::read(&small.ask(&["run", "--json", FILE]));
    assert!(again.ran.is_empty() && again.failed.is_empty() && !again.fresh.is_empty(), "{:?}", again.ran);
    let verified = small.ask(&["verify", FILE]);
    small.keep("verify.txt", &(verified.stdout.clone() + &verified.stderr));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    for node in ["chats", "sft", "merged", "scores_base", "scores_sft", "scores", "best", "table"] {
        small.keep_node(node);
    }
    the_report_is_whole(&small.folder);
    every_published_cell_is_judged(&small);
}

/// Lets the hub have the model as its own hub has it: in bfloat16.
fn serve_the_model(hub: &Hub) {
    let file = fetched("SmolLM2-135M-Instruct.Q4_1.gguf").expect("tests/models/fetch.sh fetches the model");
    let model = import(&file, "bf16").unwrap();
    let files = fs_err::read_dir(model.path()).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs_err::read(&path).unwrap())
    });
    let files: Vec<(String, Vec<u8>)> = files.collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    hub.commit(&format!("models/{SMALL}"), "main", COMMIT, &files);
}

/// The base, the fine-tuned and the merged model have a figure in every column, and the merge that was chosen is marked.
fn the_report_is_whole(folder: &Path) {
    let report: Value = serde_json::from_slice(&fs_err::read(folder.join("table.report.json")).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= 3, "{report}");
    for row in rows {
        let scores = row["scores"].as_array().unwrap();
        assert!(scores.len() >= 15 && scores.iter().all(|score| score["value"].is_number()), "{row}");
    }
    let marked: Vec<&Value> = rows.iter().filter(|row| !row["chosen_by"].is_null()).collect();
    assert_eq!(marked.len(), 1, "{report}");
    assert_eq!((&marked[0]["label"], &marked[0]["chosen_by"]), (&json!("merged"), &json!(["best"])));
    let page = fs_err::read_to_string(folder.join("table.report.html")).unwrap();
    assert!(page.contains("← best"), "the page marks it too");
}

/// Beside the published tables, which are of other models: all that was run is measured, and all is judged.
fn every_published_cell_is_judged(small: &Small) {
    let published = small.world.read("pipelines/luth/luth-0.6b.lock");
    let tables = published.split_once("published:").unwrap().1;
    small.world.write(LOCK, &format!("{}published:{tables}", small.world.read(LOCK)));
    small.keep("verify-published.txt", &small.ask(&["verify", FILE]).stdout);
    let verified = small.ask(&["verify", "--json", FILE]);
    assert_eq!(verified.code, 3, "{}", verified.stderr);
    let found: Value = serde_json::from_str(&verified.stdout).unwrap();
    let cells = found["published"].as_array().unwrap();
    let lock = Lock::read(&small.world.read(LOCK)).unwrap();
    assert_eq!(cells.len(), lock.tables().iter().map(|table| table.cells.len()).sum::<usize>());
    for cell in cells {
        let ran = ["scores", "scores_base"].contains(&cell["node"].as_str().unwrap());
        let judged = ["reproduced", "within_tolerance", "off"].contains(&cell["verdict"].as_str().unwrap());
        let passed_over = ["not_run", "not_published"].contains(&cell["verdict"].as_str().unwrap());
        assert!(cell["measured"].is_number() == ran && judged == ran && passed_over != ran, "{cell}");
    }
}
