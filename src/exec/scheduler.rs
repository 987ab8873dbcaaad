//! The only loop of a run. It owns all state; children and their watchers only send it messages.
//!
//! A node is looked at once everything it reads is done: fresh nodes cost a look into the cache, stale ones a child
//! process. Before a child reads an artifact its bytes are checked against their digest, once a run; a damaged one is
//! put aside by the cache and the pass begins anew, so that its node runs again and nobody is served wrong bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::child::{Answer, Message};
use super::decide::{Decider, Decision};
use super::event::{EVENT_VERSION, Event, Observer};
use super::worker::{Report, Worker, WorkerFiles};
use super::{ExecError, locked};
use crate::cache::{Action, Cache, NewAction, RunId, Staging};
use crate::digest::Digest;
use crate::ops::Outcome;
use crate::plan::graph::{Instance, InstanceId, Plan};
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
    /// The result of every node instance that has one.
    pub actions: Vec<Option<Action>>,
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
        checked: HashSet::new(),
        ran: BTreeSet::new(),
        told_fresh: HashSet::new(),
        run_id: None,
        stop: false,
        damaged: false,
    };
    loop {
        scheduler.pass(&inbox)?;
        if !std::mem::take(&mut scheduler.damaged) {
            break;
        }
    }
    scheduler.finish(started)
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
    /// Artifacts whose bytes were found right in this run.
    pub(super) checked: HashSet<Digest>,
    pub(super) ran: BTreeSet<InstanceId>,
    pub(super) told_fresh: HashSet<InstanceId>,
    pub(super) run_id: Option<RunId>,
    /// Whether no further node may start.
    pub(super) stop: bool,
    /// Whether an artifact was found damaged, so that the pass has to begin anew.
    pub(super) damaged: bool,
}

impl Scheduler<'_, '_> {
    /// Goes through the graph once, until nothing runs and nothing can start.
    fn pass(&mut self, inbox: &Receiver<Report>) -> Result<(), ExecError> {
        self.begin_pass();
        let ready: Vec<InstanceId> =
            self.plan.order().iter().copied().filter(|id| self.states[id.index()] == State::Waiting(0)).collect();
        for id in ready {
            self.look(id)?;
        }
        loop {
            self.fill_slots()?;
            if self.running.is_empty() {
                break;
            }
            match inbox.recv_timeout(Duration::from_millis(100)) {
                Ok(Report::Said(id, message)) => self.said(id, message),
                Ok(Report::Ended(id, answer, took)) => self.ended(id, answer, took)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if self.options.cancelled.load(Ordering::Relaxed) {
                self.stop = true;
                for running in self.running.values_mut() {
                    running.worker = None;
                }
            }
        }
        Ok(())
    }

    fn begin_pass(&mut self) {
        let wanted = |id: &InstanceId| self.options.wanted[id.index()];
        self.done = vec![None; self.plan.instances().len()];
        self.states = vec![State::Unwanted; self.plan.instances().len()];
        for id in self.plan.order() {
            if wanted(id) {
                self.states[id.index()] = State::Waiting(self.plan.upstream(*id).count());
            }
        }
        self.queue.clear();
        self.stop = false;
    }

    /// Decides about an instance whose inputs are all done.
    fn look(&mut self, id: InstanceId) -> Result<(), ExecError> {
        self.states[id.index()] = State::Active;
        let forced = self.options.forced.contains(&id) && !self.ran.contains(&id);
        match self.decider.decide(id, &self.done)? {
            Decision::Fresh(action) if !forced => self.fresh(id, *action),
            Decision::Fresh(action) => {
                let parts = self.decider.parts_of(id, &self.done)?;
                let queued = Queued { key: action.key, parts, reasons: vec![StaleReason::Forced] };
                self.queue.insert(self.plan.rank(id), queued);
                Ok(())
            }
            Decision::Stale { key, parts, reasons } => {
                self.queue.insert(self.plan.rank(id), Queued { key, parts: *parts, reasons });
                Ok(())
            }
        }
    }

    fn fresh(&mut self, id: InstanceId, action: Action) -> Result<(), ExecError> {
        let instance = self.plan.instance(id);
        if let Some(why) = self.drifted(instance, &action.artifact) {
            self.fail(id, vec![why], None, PathBuf::new());
            return Ok(());
        }
        if !self.ran.contains(&id) && self.told_fresh.insert(id) {
            self.observer.event(&Event::NodeFresh {
                node: instance.name.clone(),
                kind: instance.kind().name(),
                key: action.key,
                artifact: action.artifact,
            });
        }
        self.complete(id, action, State::Fresh)
    }

    /// Notes a result and looks at what waited for it.
    fn complete(&mut self, id: InstanceId, action: Action, state: State) -> Result<(), ExecError> {
        self.done[id.index()] = Some(action);
        self.states[id.index()] = state;
        let mut next: Vec<InstanceId> = self.plan.downstream(id).collect();
        next.sort_unstable();
        for id in next {
            if let State::Waiting(left) = self.states[id.index()] {
                self.states[id.index()] = State::Waiting(left - 1);
                if left == 1 {
                    self.look(id)?;
                }
            }
        }
        Ok(())
    }

    fn fill_slots(&mut self) -> Result<(), ExecError> {
        while !self.stop && !self.damaged && self.running.len() < self.options.jobs {
            if self.options.cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Two instances can have the same key (a merge at t = 0 is its base): the second waits for the first.
            let busy: HashSet<Digest> = self.running.values().map(|running| running.key).collect();
            let Some(rank) = self.queue.iter().find(|(_, queued)| !busy.contains(&queued.key)).map(|(rank, _)| *rank)
            else {
                return Ok(());
            };
            let Some(queued) = self.queue.remove(&rank) else { return Ok(()) };
            let id = self.plan.order()[rank];
            match self.cache.action(&queued.key)? {
                Some(action) if queued.reasons != [StaleReason::Forced] => self.fresh(id, action)?,
                _ => self.start(id, queued)?,
            }
        }
        Ok(())
    }

    fn said(&mut self, id: InstanceId, message: Message) {
        let Some(running) = self.running.get_mut(&id) else { return };
        match message {
            Message::Phase { name, total, unit } => running.progress = (name, 0, total, unit, String::new()),
            Message::Position { done } => running.progress.1 = done,
            Message::Note { text } => running.progress.4 = text,
        }
        let (phase, done, total, unit, note) = running.progress.clone();
        let node = self.plan.instance(id).name.clone();
        self.observer.event(&Event::NodeProgress { node, phase, done, total, unit, note });
    }

    fn ended(&mut self, id: InstanceId, answer: Answer, took: Duration) -> Result<(), ExecError> {
        let Some(running) = self.running.remove(&id) else { return Ok(()) };
        match answer {
            _ if self.options.cancelled.load(Ordering::Relaxed) => {
                self.states[id.index()] = State::Skipped;
                Ok(())
            }
            Answer::Failed { error, help } => {
                self.fail(id, error, help, running.files.log);
                Ok(())
            }
            Answer::Done(outcome) => self.commit(id, running, outcome, took),
        }
    }

    fn commit(&mut self, id: InstanceId, running: Running, outcome: Outcome, took: Duration) -> Result<(), ExecError> {
        let instance = self.plan.instance(id);
        let outputs = instance.op.outputs().iter().map(|output| (output.name.into(), output.path.into())).collect();
        let action = self.cache.commit(
            running.staging,
            NewAction {
                key: running.key,
                kind: instance.kind().name().to_owned(),
                parts: running.parts.to_value(),
                outputs,
                metrics: outcome.metrics,
                measured: outcome.measured,
                duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                producer: locked::producer(),
            },
        )?;
        // Its bytes were hashed a moment ago.
        self.checked.insert(action.artifact);
        if let Some(why) = self.drifted(instance, &action.artifact) {
            self.fail(id, vec![why], None, running.files.log);
            return Ok(());
        }
        self.ran.insert(id);
        self.observer.event(&Event::NodeFinished {
            node: instance.name.clone(),
            kind: instance.kind().name(),
            key: action.key,
            artifact: action.artifact,
            path: self.cache.artifact_path(&action.artifact),
            seconds: took.as_secs_f64(),
            metrics: action.metrics.clone(),
            measured: action.measured.clone(),
        });
        self.complete(id, action, State::Ran)
    }

    /// Says how an artifact differs from the lockfile, when the run must agree with one.
    fn drifted(&self, instance: &Instance, artifact: &Digest) -> Option<String> {
        let locked = self.options.locked?.node(&instance.name)?;
        (locked.artifact != artifact.hex()).then(|| {
            let here = locked::platform();
            let there = self.options.locked.map_or("", |lock| lock.platform.as_str());
            let platform =
                if here == there { String::new() } else { format!(" (locked on {there}, and this is {here})") };
            format!("its artifact is {}, and the lockfile demands {}{platform}", artifact.hex(), locked.artifact)
        })
    }

    fn fail(&mut self, id: InstanceId, error: Vec<String>, help: Option<String>, log: PathBuf) {
        let instance = self.plan.instance(id);
        self.states[id.index()] = State::Failed;
        let (node, kind) = (instance.name.clone(), instance.kind().name());
        self.observer.event(&Event::NodeFailed { node: node.clone(), kind, error, help, log });
        if !self.options.keep_going {
            self.stop = true;
        }
        let mut stack: Vec<InstanceId> = self.plan.downstream(id).collect();
        while let Some(id) = stack.pop() {
            if matches!(self.states[id.index()], State::Waiting(_)) {
                self.states[id.index()] = State::Skipped;
                let skipped = self.plan.instance(id).name.clone();
                self.observer.event(&Event::NodeSkipped { node: skipped, because: node.clone() });
                stack.extend(self.plan.downstream(id));
            }
        }
    }

    fn finish(self, started: Instant) -> Result<RunReport, ExecError> {
        let interrupted = self.options.cancelled.load(Ordering::Relaxed);
        let mut report = RunReport {
            ran: Vec::new(),
            fresh: Vec::new(),
            failed: Vec::new(),
            skipped: Vec::new(),
            interrupted,
            actions: self.done,
        };
        for id in self.plan.order() {
            let list = match self.states[id.index()] {
                State::Unwanted => continue,
                _ if self.ran.contains(id) => &mut report.ran,
                State::Fresh | State::Ran => &mut report.fresh,
                State::Failed => &mut report.failed,
                State::Waiting(_) | State::Active | State::Skipped => &mut report.skipped,
            };
            list.push(self.plan.instance(*id).name.clone());
        }
        remember(self.decider, &report.actions)?;
        let event = Event::RunFinished {
            ran: report.ran.clone(),
            fresh: report.fresh.clone(),
            failed: report.failed.clone(),
            skipped: report.skipped.clone(),
            interrupted,
            seconds: started.elapsed().as_secs_f64(),
        };
        if let Some(run_id) = &self.run_id {
            self.cache.finish_run(run_id, &serde_json::to_value(&event).unwrap_or_default())?;
        }
        self.observer.event(&event);
        Ok(report)
    }
}

/// Notes the key that every instance has now, so that the next change can be explained.
fn remember(decider: &Decider<'_>, actions: &[Option<Action>]) -> Result<(), ExecError> {
    let mut changed = Vec::new();
    for (instance, action) in decider.plan.instances().iter().zip(actions) {
        let Some(action) = action else { continue };
        if decider.cache.last(&decider.scope, &instance.name)?.is_none_or(|last| last.key != action.key) {
            changed.push((instance.name.clone(), action.key));
        }
    }
    if !changed.is_empty() {
        decider.cache.remember(&decider.scope, &changed)?;
    }
    Ok(())
}
