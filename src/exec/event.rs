//! All that an observer of a run may know. The terminal, the JSON lines and the tests see the same events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::plan::StaleReason;

/// Something that happened in a run.
///
/// As JSON: one object with the name of the event in `event`. Fields are only ever added within one version.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The version of these events.
        version: u32,
        /// The name of the pipeline.
        pipeline: String,
        /// How many node instances it looks at.
        nodes: usize,
    },
    /// Another process holds the cache, and the run waits for it.
    Waiting {
        /// Who holds it.
        holder: String,
    },
    /// A node need not run.
    NodeFresh {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// Its key.
        key: Digest,
        /// Its artifact.
        artifact: Digest,
    },
    /// Another process on the same cache runs the same action; the node waits for it.
    NodeElsewhere {
        /// The node instance.
        node: String,
        /// Who runs it.
        holder: String,
    },
    /// The result of a node came from the remote store.
    NodeFetched {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// Its key.
        key: Digest,
        /// Its artifact.
        artifact: Digest,
        /// Where the artifact lies.
        path: PathBuf,
        /// How long it took.
        seconds: f64,
    },
    /// A selection was made.
    NodeChose {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// Its key.
        key: Digest,
        /// The artifact of what it chose.
        artifact: Digest,
        /// The instance that it chose.
        instance: String,
        /// The point of the sweep of that instance.
        axes: BTreeMap<String, serde_json::Value>,
        /// What the expression gave for it.
        value: f64,
        /// How many instances it was chosen from.
        of: usize,
    },
    /// A node failed and is tried again.
    NodeRetrying {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// What went wrong, outermost first.
        error: Vec<String>,
        /// Which new try this will be.
        attempt: u32,
        /// How many there may be.
        attempts: u32,
        /// How long is waited before.
        wait_seconds: f64,
    },
    /// A node ran only to be compared; its result was not kept.
    NodeRehearsed {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// What it gave.
        artifact: Digest,
        /// How long it ran.
        seconds: f64,
    },
    /// A node begins to run.
    NodeStarted {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// Why it runs.
        reasons: Vec<StaleReason>,
        /// How many threads it may use.
        threads: usize,
    },
    /// A running node got further.
    NodeProgress {
        /// The node instance.
        node: String,
        /// What it is doing.
        phase: String,
        /// How far it is in this phase.
        done: u64,
        /// How far it has to go, if that is known.
        total: Option<u64>,
        /// What `done` counts.
        unit: String,
        /// Something beside the figures: `loss 3.21`.
        note: String,
    },
    /// Something is wrong, and the node goes on.
    NodeWarned {
        /// The node instance.
        node: String,
        /// What is wrong.
        text: String,
    },
    /// A node ran.
    NodeFinished {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// Its key.
        key: Digest,
        /// Its artifact.
        artifact: Digest,
        /// Where the artifact lies.
        path: PathBuf,
        /// How long it ran.
        seconds: f64,
        /// Its metrics.
        metrics: BTreeMap<String, f64>,
        /// Figures about this very run.
        measured: BTreeMap<String, f64>,
    },
    /// A node failed.
    NodeFailed {
        /// The node instance.
        node: String,
        /// Its kind.
        kind: &'static str,
        /// What went wrong, outermost first.
        error: Vec<String>,
        /// The way out, if there is one to name.
        help: Option<String>,
        /// Where its output was written.
        log: PathBuf,
    },
    /// A node does not run, or is stopped, because another failed or the user stopped the run.
    NodeSkipped {
        /// The node instance.
        node: String,
        /// The failed node instance, or `interrupted`.
        because: String,
    },
    /// The run is over.
    RunFinished {
        /// The node instances that ran.
        ran: Vec<String>,
        /// Those that came from the remote store.
        fetched: Vec<String>,
        /// Those that need not.
        fresh: Vec<String>,
        /// Those that failed.
        failed: Vec<String>,
        /// Those that did not run because of a failure or an interruption.
        skipped: Vec<String>,
        /// Whether the user stopped it.
        interrupted: bool,
        /// How long it took.
        seconds: f64,
    },
}

/// The version of the events' JSON.
pub const EVENT_VERSION: u32 = 1;

/// Listens to a run.
pub trait Observer {
    /// Takes notice of an event.
    fn event(&mut self, event: &Event);
}
