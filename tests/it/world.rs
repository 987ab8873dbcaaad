//! A made-up world for tests that run the real program: a folder of its own, a small pipeline, nothing of the host's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a small pipeline in it, which runs in about a second.
pub(crate) struct World {
    dir: TempDir,
}

/// What a command gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// Makes a folder with [`PIPELINE`] and its data.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        let (english, french) = prose();
        world.write("data/en.txt", &english);
        world.write("data/fr.txt", &french);
        world.write("data/pairs.txt", PAIRS);
        world.write("data/chats.jsonl", CHATS);
        world.write("pipeline.yaml", PIPELINE);
        world
    }

    /// Makes an empty folder.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a text that must be there in the pipeline file.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        self.edit_file("pipeline.yaml", from, to);
    }

    pub(crate) fn edit_file(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// The program, in this folder, without the host's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_luthflow"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("NO_COLOR", "1").env("HOME", self.dir.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs the pipeline and returns the last event; the run must succeed.
    pub(crate) fn run_ok(&self, args: &[&str]) -> Finished {
        let args: Vec<&str> = ["run", "--json"].iter().chain(args).copied().collect();
        let ran = self.run(&args);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        Finished::read(&ran)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Output with what differs from machine to machine replaced.
    pub(crate) fn tidy(&self, text: &str) -> String {
        let folder = self.dir.path().canonicalize().unwrap();
        text.replace(&*folder.to_string_lossy(), "[WORLD]")
            .replace(&*self.dir.path().to_string_lossy(), "[WORLD]")
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }
}

/// The `run_finished` event.
pub(crate) struct Finished {
    pub(crate) ran: Vec<String>,
    pub(crate) fresh: Vec<String>,
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(crate) events: Vec<Value>,
}

impl Finished {
    pub(crate) fn read(ran: &Ran) -> Self {
        let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = events.last().expect("there are events");
        assert_eq!(last["event"], "run_finished");
        let names = |key: &str| -> Vec<String> {
            last[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        Self {
            ran: names("ran"),
            fresh: names("fresh"),
            failed: names("failed"),
            skipped: names("skipped"),
            events: events.clone(),
        }
    }

    /// The reasons that a node was run for, joined.
    pub(crate) fn why(&self, node: &str) -> String {
        let started = self.events.iter().find(|event| event["event"] == "node_started" && event["node"] == node);
        let started = started.unwrap_or_else(|| panic!("{node} did not start"));
        let reasons = started["reasons"].as_array().unwrap();
        reasons.iter().map(|reason| reason.as_str().unwrap()).collect::<Vec<_>>().join("; ")
    }
}

/// Every kind once, at a size that runs in a second.
pub(crate) const PIPELINE: &str = "\
version: 1
name: tiny
params: {seed: 7, rate: 2.0e-3}
sweep:
  t: [0.25, 0.75]
nodes:
  text_en: {kind: source, dataset: data/en.txt, rows: line}
  text_fr: {kind: source, dataset: data/fr.txt, rows: line}
  chats: {kind: source, dataset: data/chats.jsonl}
  pairs: {kind: source, dataset: data/pairs.txt, format: clams}
  english:
    kind: curate
    from: [text_en]
    steps:
      - normalize: {form: nfc}
      - length: {min_chars: 10}
      - dedup: exact
      - split: {eval: 0.2}
  french:
    kind: curate
    from: [text_fr]
    steps:
      - length: {min_chars: 10}
      - language: {keep: [fr]}
      - dedup: exact
      - split: {eval: 0.2}
  bpe: {kind: tokenizer, data: [english.train, french.train], vocab_size: 320}
  seedling:
    kind: init
    tokenizer: bpe
    config:
      hidden_size: 32
      intermediate_size: 64
      num_hidden_layers: 1
      num_attention_heads: 2
      num_key_value_heads: 1
      head_dim: 16
    seed: ${seed}
  base: {kind: sft, model: seedling, data: [english.train], sequence_len: 64, learning_rate: 1.0e-3, max_steps: 4, seed: \"${seed}\"}
  sft: {kind: sft, model: base, data: [french.train, chats], sequence_len: 64, learning_rate: \"${rate}\", max_steps: 4}
  merged: {kind: merge, method: slerp, base: base, models: [sft], parameters: {t: \"${t}\"}}
  scores_base: {kind: eval, model: base, max_length: 64, tasks: [{bits_per_byte: {name: fr, data: french.eval}}, {minimal_pairs: {name: pairs, data: pairs}}]}
  scores:
    kind: eval
    model: merged
    max_length: 64
    tasks:
      - bits_per_byte: {name: fr, data: french.eval}
      - minimal_pairs: {name: pairs, data: pairs}
  report: {kind: report, over: [scores_base, scores], curves: [base.log, sft.log]}
";

/// Every instance of [`PIPELINE`], sorted.
pub(crate) const NODES: [&str; 16] = [
    "base",
    "bpe",
    "chats",
    "english",
    "french",
    "merged[t=0.25]",
    "merged[t=0.75]",
    "pairs",
    "report",
    "scores[t=0.25]",
    "scores[t=0.75]",
    "scores_base",
    "seedling",
    "sft",
    "text_en",
    "text_fr",
];

const PAIRS: &str = "\
True\tthe author laughs
False\tthe author laugh
True\tthe pilots smile
False\tthe pilots smiles
";

const CHATS: &str = concat!(
    r#"{"messages": [{"role": "user", "content": "Quelle heure est-il ?"}, {"role": "assistant", "content": "Il est midi."}]}"#,
    "\n",
    r#"{"messages": [{"role": "user", "content": "Bonjour !"}, {"role": "assistant", "content": "Bonjour, comment vas-tu ?"}]}"#,
    "\n",
);

/// Returns lines of English and of French, the same on every machine.
fn prose() -> (String, String) {
    let english = [
        ["The old man", "A young girl", "My sister", "The captain"],
        ["looked at", "walked along", "spoke of", "remembered"],
        ["the sea.", "the road to the village.", "her mother's house.", "the long winter."],
    ];
    let french = [
        ["Le vieil homme", "Une jeune fille", "Ma sœur", "Le capitaine"],
        ["regardait", "suivait", "parlait de", "se rappelait"],
        ["la mer.", "la route du village.", "la maison de sa mère.", "le long hiver."],
    ];
    (lines(&english), lines(&french))
}

fn lines([first, second, third]: &[[&str; 4]; 3]) -> String {
    let mut out = Vec::new();
    for a in first {
        for b in second {
            out.extend(third.iter().map(|c| format!("{a} {b} {c}\n")));
        }
    }
    out.concat()
}
