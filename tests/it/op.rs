//! Runs one node through the library, the way the worker process does, and keeps what it wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use luthflow::ops::{self, DeviceChoice, InputArtifact, Inputs, OpCx, OpError, Outcome, Progress};
use luthflow::spec::params::{Kind, Op};
use serde_json::Value;
use tempfile::TempDir;

/// The folder of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A sink for progress that nobody watches.
pub(crate) struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str, _total: Option<u64>, _unit: &'static str) {}
    fn position(&self, _done: u64) {}
    fn note(&self, _text: &str) {}
}

/// A node's artifact and its answer.
pub(crate) struct Ran {
    pub(crate) out: TempDir,
    pub(crate) outcome: Outcome,
}

impl Ran {
    pub(crate) fn path(&self) -> &Path {
        self.out.path()
    }

    /// Returns the text of a file in the artifact.
    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path().join(name)).unwrap()
    }

    /// Returns a metric that is a whole number.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.metric(name).round() as usize
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.outcome.metrics[name]
    }
}

/// Makes inputs of `(slot, name, path)`; a slot that comes again gathers.
pub(crate) fn inputs(all: &[(&str, &str, &Path)]) -> Inputs {
    let mut inputs = Inputs::default();
    for &(slot, name, path) in all {
        let artifact = InputArtifact {
            name: name.into(),
            label: name.into(),
            axes: BTreeMap::new(),
            path: path.into(),
            digest: None,
            chosen: false,
        };
        inputs.0.entry(slot.into()).or_default().push(artifact);
    }
    inputs
}

/// Runs a node with `threads` threads.
pub(crate) fn run_with(threads: usize, kind: Kind, fields: Value, inputs: &Inputs) -> Result<Ran, OpError> {
    run_on(DeviceChoice::Cpu, threads, kind, fields, inputs)
}

/// Runs a node on a device.
pub(crate) fn run_on(
    device: DeviceChoice,
    threads: usize,
    kind: Kind,
    fields: Value,
    inputs: &Inputs,
) -> Result<Ran, OpError> {
    let op = Op::from_fields(kind, fields).unwrap();
    assert_eq!(op.check(), []);
    let out = TempDir::new().unwrap();
    let cx = OpCx {
        inputs,
        out: out.path(),
        scratch: out.path(),
        checkpoint: None,
        environment: &|_| None,
        threads,
        device,
        progress: &Silent,
        cancelled: &AtomicBool::new(false),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| ops::run(&op, &cx))?;
    Ok(Ran { out, outcome })
}

/// Runs a node with two threads.
pub(crate) fn run(kind: Kind, fields: Value, inputs: &Inputs) -> Result<Ran, OpError> {
    run_with(2, kind, fields, inputs)
}
