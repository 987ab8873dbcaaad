//! The only loop of a run. It owns all state; children and their watchers only send it messages.
//!
//! A node is looked at once everything it reads is done: fresh nodes cost a look into the cache, stale ones a child
//! process. Before a child reads an artifact its bytes are checked against their digest, once a run; a damaged one is
//! put aside by the cache and the pass begins anew, so that its node runs again and nobody is served wrong bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::ExecError;
use super::child::Message;
use super::decide::{Decider, Decision};
use super::event::{EVENT_VERSION, Event, Observer};
use super::worker::{Report, Worker, WorkerFiles};
use crate::cache::{Action, Cache, RunId, Staging};
use crate::digest::Digest;
use crate::plan::graph::{InstanceId, Plan};
use crate::plan::{KeyParts, StaleReason};
use crate::spec::lock::Lock;

/// How a run is to be done.
pub struct RunOptions<'a> {
    /// The program that children run: this one.
    pub program: PathBuf,
    /// How many nodes may run at once.
    pub jobs: usize,
    /// How many threads all of them together should use.
    pub cores: usize,
    /// Whether nodes that don't depend on a failed one still run.
    pub keep_going: bool,
    /// The node instances to bring up to date, as a flag for every instance; with all they are made from.
    pub wanted: Vec<bool>,
    /// Node instances that run even when they are fresh.
    pub forced: HashSet<InstanceId>,
    /// A lockfile that the results must agree with.
    pub locked: Option<&'a Lock>,
    /// Whether nothing may be fetched over the network.
    pub offline: bool,
    /// Node instances that run although they are fresh, and whose result is looked at and thrown away.
    pub rehearse: HashSet<InstanceId>,
    /// Set when the user wants the run to stop.
    pub cancelled: &'a AtomicBool,
}

/// What a run did.
#[derive(Debug)]
pub struct RunReport {
    /// The node instances that ran, in graph order.
    pub ran: Vec<String>,
    /// Those that need not.
    pub fresh: Vec<String>,
    /// Those that failed.
    pub failed: Vec<String>,
    /// Those that did not run because of a failure or an interruption.
    pub skipped: Vec<String>,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// Whether a node failed for having given other bytes than the lockfile demands.
    pub drifted: bool,
    /// What kept luthflow itself from going on: the cache or the machine, rather than a node.
    pub broken: Option<ExecError>,
    /// The result of every node instance that has one.
    pub actions: Vec<Option<Action>>,
    /// What the rehearsed node instances gave.
    pub rehearsed: BTreeMap<String, Rehearsed>,
    /// The run's name in the cache, if anything ran.
    pub run_id: Option<RunId>,
}

/// What a node instance gave in a rehearsal. It was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// The digest of its artifact.
    pub artifact: Digest,
    /// The digests of its outputs.
    pub outputs: BTreeMap<String, Digest>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
}

/// Brings the wanted node instances up to date.
pub fn run(
    decider: &Decider<'_>,
    options: &RunOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<RunReport, ExecError> {
    let started = Instant::now();
    let plan = decider.plan;
    let nodes = options.wanted.iter().filter(|wanted| **wanted).count();
    decider.find_sources(&options.wanted)?;
    observer.event(&Event::RunStarted { version: EVENT_VERSION, pipeline: plan.name.clone(), nodes });
    let (reports, inbox) = channel();
    let mut scheduler = Scheduler {
        plan,
        decider,
        cache: decider.cache,
        options,
        observer,
        reports,
        states: Vec::new(),
        done: Vec::new(),
        queue: BTreeMap::new(),
        running: BTreeMap::new(),
        ready: VecDeque::new(),
        checked: HashSet::new(),
        ran: BTreeSet::new(),
        rehearsed: BTreeMap::new(),
        told: HashSet::new(),
        run_id: None,
        drifted: false,
        broken: None,
        damaged: false,
    };
    loop {
        scheduler.pass(&inbox);
        if !std::mem::take(&mut scheduler.damaged) || scheduler.broken.is_some() {
            break;
        }
    }
    Ok(scheduler.finish(started))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// So many of the instances it reads are not done.
    Waiting(usize),
    /// Decided, in the queue or running.
    Active,
    Fresh,
    Ran,
    Failed,
    Skipped,
    /// Not asked for.
    Unwanted,
}

/// A stale instance that waits for a slot.
pub(super) struct Queued {
    pub(super) key: Digest,
    pub(super) parts: KeyParts,
    pub(super) reasons: Vec<StaleReason>,
    /// Whether it runs although the cache holds its result.
    pub(super) again: bool,
}

pub(super) struct Running {
    pub(super) worker: Option<Worker>,
    pub(super) staging: Staging,
    pub(super) key: Digest,
    pub(super) parts: KeyParts,
    pub(super) files: WorkerFiles,
    pub(super) progress: (String, u64, Option<u64>, String, String),
}

pub(super) struct Scheduler<'a, 'o> {
    pub(super) plan: &'a Plan,
    pub(super) decider: &'a Decider<'a>,
    pub(super) cache: &'a Cache,
    pub(super) options: &'a RunOptions<'a>,
    pub(super) observer: &'o mut dyn Observer,
    pub(super) reports: Sender<Report>,
    pub(super) states: Vec<State>,
    pub(super) done: Vec<Option<Action>>,
    pub(super) queue: BTreeMap<usize, Queued>,
    pub(super) running: BTreeMap<InstanceId, Running>,
    /// Instances whose inputs are all done, still to be looked at.
    pub(super) ready: VecDeque<InstanceId>,
    /// Artifacts whose bytes were found right in this run.
    pub(super) checked: HashSet<Digest>,
    pub(super) ran: BTreeSet<InstanceId>,
    pub(super) rehearsed: BTreeMap<String, Rehearsed>,
    /// Instances whose end an observer was told of.
    pub(super) told: HashSet<InstanceId>,
    pub(super) run_id: Option<RunId>,
    /// Whether an artifact was not the one in the lockfile.
    pub(super) drifted: bool,
    /// What keeps luthflow itself from going on. What runs then ends and is kept, and nothing starts any more.
    pub(super) broken: Option<ExecError>,
    /// Whether an artifact was found damaged, so that the pass has to begin anew.
    pub(super) damaged: bool,
}

impl Scheduler<'_, '_> {
    /// Goes through the graph once, until nothing runs and nothing can start.
    fn pass(&mut self, inbox: &Receiver<Report>) {
        self.begin_pass();
        loop {
            if let Err(error) = self.advance() {
                self.broken.get_or_insert(error);
            }
            if self.running.is_empty() {
                break;
            }
            match inbox.recv_timeout(Duration::from_millis(100)) {
                Ok(Report::Said(id, message)) => self.said(id, message),
                Ok(Report::Ended(id, answer, took)) => self.ended(id, answer, took),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if self.interrupted() {
                for running in self.running.values_mut() {
                    running.worker = None;
                }
            }
        }
    }

    /// Makes every instance wait that has not failed already.
    fn begin_pass(&mut self) {
        self.done = vec![None; self.plan.instances().len()];
        self.queue.clear();
        self.ready.clear();
        self.states.resize(self.plan.instances().len(), State::Unwanted);
        for id in self.plan.order().iter().copied().filter(|id| self.options.wanted[id.index()]) {
            if !matches!(self.states[id.index()], State::Failed | State::Skipped) {
                let upstream = self.plan.upstream(id).count();
                self.states[id.index()] = State::Waiting(upstream);
                if upstream == 0 {
                    self.ready.push_back(id);
                }
            }
        }
    }

    pub(super) fn interrupted(&self) -> bool {
        self.options.cancelled.load(Ordering::Relaxed)
    }

    /// Whether a further node may start.
    fn may_start(&self) -> bool {
        let failed = !self.options.keep_going && self.states.contains(&State::Failed);
        !failed && !self.damaged && self.broken.is_none() && !self.interrupted()
    }

    /// Looks at all that is ready and starts what has a slot.
    fn advance(&mut self) -> Result<(), ExecError> {
        loop {
            while let Some(id) = self.ready.pop_front() {
                self.look(id)?;
            }
            if self.running.len() >= self.options.jobs || !self.may_start() {
                return Ok(());
            }
            // Two instances can have the same key (a merge at t = 0 is its base): the second waits for the first.
            let busy: HashSet<Digest> = self.running.values().map(|running| running.key).collect();
            let next = self.queue.iter().find(|(_, queued)| !busy.contains(&queued.key)).map(|(rank, _)| *rank);
            let Some((rank, queued)) = next.and_then(|rank| self.queue.remove_entry(&rank)) else { return Ok(()) };
            let id = self.plan.order()[rank];
            match self.cache.action(&queued.key)? {
                Some(action) if !queued.again => self.fresh(id, action),
                _ => self.start(id, queued)?,
            }
        }
    }

    /// Decides about an instance whose inputs are all done.
    fn look(&mut self, id: InstanceId) -> Result<(), ExecError> {
        self.states[id.index()] = State::Active;
        let rehearsed = self.rehearsed.contains_key(&self.plan.instance(id).name);
        let rehearse = self.options.rehearse.contains(&id) && !rehearsed;
        let forced = (self.options.forced.contains(&id) || rehearse) && !self.ran.contains(&id);
        let queued = match self.decider.decide(id, &self.done)? {
            Decision::Fresh(action) => {
                let drifted = self.drift(id, &action.artifact).is_some();
                if !forced && !drifted {
                    self.fresh(id, *action);
                    return Ok(());
                }
                let parts = self.decider.parts_of(id, &self.done)?;
                let reason = if forced { StaleReason::Forced } else { StaleReason::NotAsLocked };
                Queued { key: action.key, parts, reasons: vec![reason], again: true }
            }
            Decision::Stale { key, parts, reasons } => Queued { key, parts: *parts, reasons, again: false },
        };
        self.queue.insert(self.plan.rank(id), queued);
        Ok(())
    }

    fn fresh(&mut self, id: InstanceId, action: Action) {
        let instance = self.plan.instance(id);
        if !self.ran.contains(&id) && self.told.insert(id) {
            self.observer.event(&Event::NodeFresh {
                node: instance.name.clone(),
                kind: instance.kind().name(),
                key: action.key,
                artifact: action.artifact,
            });
        }
        self.complete(id, action, State::Fresh);
    }

    /// Notes a result; what waited for nothing else is ready.
    pub(super) fn complete(&mut self, id: InstanceId, action: Action, state: State) {
        self.done[id.index()] = Some(action);
        self.states[id.index()] = state;
        let mut next: Vec<InstanceId> = self.plan.downstream(id).collect();
        next.sort_unstable();
        for id in next {
            if let State::Waiting(left) = self.states[id.index()] {
                self.states[id.index()] = State::Waiting(left - 1);
                if left == 1 {
                    self.ready.push_back(id);
                }
            }
        }
    }

    fn said(&mut self, id: InstanceId, message: Message) {
        let Some(running) = self.running.get_mut(&id) else { return };
        match message {
            Message::Phase { name, total, unit } => running.progress = (name, 0, total, unit, String::new()),
            Message::Position { done } => running.progress.1 = done,
            Message::Note { text } => running.progress.4 = text,
            // The watching thread keeps it.
            Message::Answer(_) => return,
        }
        let (phase, done, total, unit, note) = running.progress.clone();
        let node = self.plan.instance(id).name.clone();
        self.observer.event(&Event::NodeProgress { node, phase, done, total, unit, note });
    }
}
