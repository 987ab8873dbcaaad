//! One node being run, on a thread of its own: everything about it that takes time and needs no other node.
//!
//! Asked for from the remote store; its inputs checked against their digests; its process run; its artifact hashed and
//! committed. The scheduler hears of it by messages only, so that it answers Ctrl-C whatever a node is doing.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ExecError;
use super::child::{Answer, Message, Request};
use super::worker::{self, Control};
use crate::cache::{Action, Cache, CacheError, Lease, NewAction, Staging};
use crate::digest::{Digest, DigestError, Manifest};
use crate::ops::Outcome;
use crate::plan::InstanceId;

/// What a job tells the scheduler.
#[derive(Debug)]
pub(super) enum Report {
    /// The node said something.
    Said(InstanceId, Message),
    /// The job is over, and how long the node itself took.
    Ended(InstanceId, Box<Ending>, Duration),
}

/// How a job ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The node ran, and its result is kept.
    Committed(Action),
    /// The remote store had the result.
    Fetched(Action),
    /// The node ran, and its result is only compared.
    Rehearsed(Rehearsed),
    /// Something that it reads is damaged, and was put aside.
    Damaged,
    /// The node failed.
    Failed { error: Vec<String>, help: Option<String> },
    /// The artifact is not the one in the lockfile; it was not kept.
    Drifted(Digest),
    /// The cache or the machine failed.
    Broken(ExecError),
}

/// What a node gave that was run only to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// Its artifact.
    pub artifact: Digest,
    /// Its outputs.
    pub outputs: BTreeMap<String, Digest>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
}

/// What becomes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is committed.
    Always,
    /// It is committed, in place of a result that is on record.
    Instead,
    /// It is committed if it is this artifact.
    IfArtifact(Digest),
    /// It is only compared.
    Never,
}

/// A node to run.
pub(super) struct Job<'a> {
    pub(super) id: InstanceId,
    pub(super) cache: &'a Cache,
    pub(super) program: PathBuf,
    pub(super) request: Request,
    pub(super) environment: Vec<(String, String)>,
    /// Takes what the node writes to its standard error.
    pub(super) log: PathBuf,
    /// Where the artifact is made, until it is committed.
    pub(super) staging: Option<Staging>,
    /// Held until the result is there.
    pub(super) _lease: Option<Lease>,
    /// The artifacts that it reads.
    pub(super) reads: Vec<Digest>,
    /// The artifacts whose bytes were found right in this run.
    pub(super) checked: Arc<Mutex<HashSet<Digest>>>,
    /// What is committed; metrics and duration are still to come.
    pub(super) new: NewAction,
    pub(super) keep: Keep,
    pub(super) fetch: bool,
    pub(super) control: Arc<Control>,
}

impl Job<'_> {
    /// Does the job and reports.
    pub(super) fn run(mut self, reports: &Sender<Report>) {
        let (id, mut took) = (self.id, Duration::ZERO);
        let ending = self.steps(&mut took, reports).unwrap_or_else(Ending::Broken);
        // The lease goes after the commit and before the report: whoever waits for it finds the result.
        drop(self);
        // The scheduler may have given up; then nobody waits.
        let _ = reports.send(Report::Ended(id, Box::new(ending), took));
    }

    fn steps(&mut self, took: &mut Duration, reports: &Sender<Report>) -> Result<Ending, ExecError> {
        if self.fetch
            && let Some(action) = self.fetched(reports)?
        {
            return Ok(Ending::Fetched(action));
        }
        if !self.inputs_are_whole()? {
            return Ok(Ending::Damaged);
        }
        let id = self.id;
        let mut said = |message| drop(reports.send(Report::Said(id, message)));
        let (answer, time) =
            worker::execute(&self.program, &self.request, &self.environment, &self.log, &self.control, &mut said)?;
        *took = time;
        match answer {
            Answer::Done(outcome) => self.settle(outcome, time).or_else(of_the_node),
            Answer::Failed { error, help } => Ok(Ending::Failed { error, help }),
        }
    }

    fn fetched(&self, reports: &Sender<Report>) -> Result<Option<Action>, ExecError> {
        let mut begun = false;
        let mut progress = |done, total| {
            if !std::mem::replace(&mut begun, true) {
                let phase = Message::Phase { name: "fetching".into(), total: Some(total), unit: "B".into() };
                let _ = reports.send(Report::Said(self.id, phase));
            }
            let _ = reports.send(Report::Said(self.id, Message::Position { done }));
        };
        Ok(self.cache.fetch(&self.new.key, &mut progress)?)
    }

    /// Checks the bytes of everything the node reads, each artifact once a run.
    fn inputs_are_whole(&self) -> Result<bool, ExecError> {
        for artifact in &self.reads {
            if self.checked().contains(artifact) {
                continue;
            }
            match self.cache.check(artifact) {
                Ok(()) => self.checked().insert(*artifact),
                // Two jobs that read one damaged artifact: the other was first to put it aside.
                Err(CacheError::Damaged { .. } | CacheError::NotStored(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(true)
    }

    fn settle(&mut self, outcome: Outcome, time: Duration) -> Result<Ending, ExecError> {
        let Some(staging) = self.staging.take() else {
            return Ok(Ending::Failed { error: vec!["it ran twice".into()], help: None });
        };
        if self.keep != Keep::Always {
            // A refused result must not be found by the next run, so it is looked at before it is kept.
            let listing = Manifest::of_dir(staging.path()).map_err(CacheError::from)?;
            match self.keep {
                Keep::IfArtifact(wanted) if wanted != listing.digest() => return Ok(Ending::Drifted(listing.digest())),
                Keep::Never => return Ok(Ending::Rehearsed(self.rehearsed(&listing, outcome))),
                _ => {}
            }
            // The first result of a key stays, but not against the lockfile, and not against the user.
            if self.cache.action(&self.new.key)?.is_some_and(|first| first.artifact != listing.digest()) {
                self.cache.withdraw(&self.new.key)?;
            }
        }
        let mut new = self.new.clone();
        if let Some(device) = outcome.device {
            new.producer = format!("{}-{device}", new.producer);
        }
        new.metrics = outcome.metrics;
        new.measured = outcome.measured;
        new.duration_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let action = self.cache.commit(staging, new)?;
        self.cache.drop_checkpoints(&self.new.key);
        // Its bytes were hashed a moment ago.
        self.checked().insert(action.artifact);
        Ok(Ending::Committed(action))
    }

    fn rehearsed(&self, listing: &Manifest, outcome: Outcome) -> Rehearsed {
        let output = |(name, path): &(String, String)| (name.clone(), listing.subtree(path).digest());
        let outputs = self.new.outputs.iter().map(output).collect();
        Rehearsed { artifact: listing.digest(), outputs, metrics: outcome.metrics }
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node left that no artifact can hold is a mistake of that node, and no reason to stop all others.
fn of_the_node(error: ExecError) -> Result<Ending, ExecError> {
    match &error {
        ExecError::Cache(
            CacheError::Digest(DigestError::NotAFile { .. } | DigestError::BadName { .. })
            | CacheError::HardLink { .. }
            | CacheError::NoOutput { .. },
        ) => Ok(Ending::Failed {
            error: vec!["its result cannot be kept".into(), error.to_string()],
            help: error.help(),
        }),
        _ => Err(error),
    }
}
