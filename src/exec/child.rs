//! The child's side of running a node, and what parent and child say to each other.
//!
//! The parent starts the same program and writes it a request, one JSON line on its standard input; the child reports
//! progress and its answer as JSON lines on its standard output. Its standard input stays open after the request, and
//! nothing more comes: when it ends, the parent is gone or wants the node to stop. So a crash, an out-of-memory kill or
//! Ctrl-C costs one node, whichever side it hits. No file is written for any of this: on a disk that has to keep them
//! safe, two files cost a trivial node as much as its own work.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ops::{self, DeviceChoice, Inputs, OpCx, Outcome, Progress};
use crate::spec::params::{Kind, Op};

/// Looks a variable of the environment up.
pub type Environment = dyn Fn(&str) -> Option<OsString> + Sync;

/// What the parent asks of a child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The kind of the node.
    pub kind: Kind,
    /// Its settings as written, parameters filled in.
    pub fields: Value,
    /// What it reads.
    pub inputs: Inputs,
    /// The empty folder that becomes its artifact.
    pub out: PathBuf,
    /// An empty folder beside it for what is needed meanwhile.
    pub scratch: PathBuf,
    /// A folder that a killed run of this very node may have left something in, to go on with.
    #[serde(default)]
    pub checkpoint: Option<PathBuf>,
    /// A folder for what nodes can compute again and would rather not.
    #[serde(default)]
    pub memo: Option<PathBuf>,
    /// How many threads it may use.
    pub threads: usize,
    /// What it may compute on.
    #[serde(default)]
    pub device: DeviceChoice,
}

/// What a child answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It succeeded.
    Done(Outcome),
    /// It failed.
    Failed {
        /// What went wrong, outermost first.
        error: Vec<String>,
        /// The way out, if there is one to name.
        help: Option<String>,
    },
}

/// What a child says while it runs, one JSON object a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A phase begins.
    Phase {
        /// What it does.
        name: String,
        /// How far it has to go, if that is known.
        total: Option<u64>,
        /// What it counts.
        unit: String,
    },
    /// It got further.
    Position {
        /// How far it is.
        done: u64,
    },
    /// The answer, with which everything is said.
    Answer(Answer),
    /// Something beside the figures.
    Note {
        /// The words.
        text: String,
    },
    /// Something that is wrong and does not end the node.
    Warning {
        /// The words.
        text: String,
    },
}

/// Runs the node that the request describes and says the answer.
pub fn serve(
    request: &str,
    mut output: impl Write + Send,
    environment: &Environment,
    cancelled: &AtomicBool,
) -> std::io::Result<()> {
    let request: Request = serde_json::from_str(request)?;
    let answer = run(&request, &mut output, environment, cancelled);
    // A line of its own, whatever a library may have printed before it.
    let line = serde_json::to_string(&Message::Answer(answer))?;
    writeln!(output, "\n{line}")?;
    output.flush()
}

fn run(request: &Request, output: impl Write + Send, environment: &Environment, cancelled: &AtomicBool) -> Answer {
    let op = match Op::from_fields(request.kind, &request.fields) {
        Ok(op) => op,
        Err(error) => return Answer::Failed { error: vec![format!("the request is damaged: {error}")], help: None },
    };
    let speaker = Speaker { inner: Mutex::new(SpeakerState { output, said: None, note: None, position: None }) };
    let cx = OpCx {
        inputs: &request.inputs,
        out: &request.out,
        scratch: &request.scratch,
        checkpoint: request.checkpoint.as_deref(),
        memo: request.memo.as_deref(),
        environment,
        threads: request.threads,
        device: request.device,
        progress: &speaker,
        cancelled,
    };
    match ops::run(&op, &cx) {
        Ok(outcome) => Answer::Done(outcome),
        Err(error) => Answer::Failed { error: error.chain(), help: error.way_out().map(str::to_owned) },
    }
}

/// How often a child says how far it is.
const INTERVAL: Duration = Duration::from_millis(50);

/// Writes progress as JSON lines, the latest figures at most every [`INTERVAL`].
struct Speaker<W> {
    inner: Mutex<SpeakerState<W>>,
}

struct SpeakerState<W> {
    output: W,
    said: Option<Instant>,
    note: Option<String>,
    position: Option<u64>,
}

impl<W: Write> SpeakerState<W> {
    /// Says one thing. A parent that no longer listens is no reason to stop here: the open input tells that.
    fn say(&mut self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = self.output.write_all(&line).and_then(|()| self.output.flush());
        }
    }

    fn flush(&mut self, now: bool) {
        if !now && self.said.is_some_and(|said| said.elapsed() < INTERVAL) {
            return;
        }
        self.said = Some(Instant::now());
        if let Some(text) = self.note.take() {
            self.say(&Message::Note { text });
        }
        if let Some(done) = self.position.take() {
            self.say(&Message::Position { done });
        }
    }
}

impl<W: Write + Send> Progress for Speaker<W> {
    fn phase(&self, name: &str, total: Option<u64>, unit: &'static str) {
        let Ok(mut state) = self.inner.lock() else { return };
        state.flush(true);
        state.say(&Message::Phase { name: name.to_owned(), total, unit: unit.to_owned() });
        state.said = None;
    }

    fn position(&self, done: u64) {
        let Ok(mut state) = self.inner.lock() else { return };
        state.position = Some(done);
        state.flush(false);
    }

    fn note(&self, text: &str) {
        let Ok(mut state) = self.inner.lock() else { return };
        state.note = Some(text.to_owned());
    }

    fn warn(&self, text: &str) {
        let Ok(mut state) = self.inner.lock() else { return };
        state.say(&Message::Warning { text: text.to_owned() });
    }
}
