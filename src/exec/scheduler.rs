//! The only loop of a run. It owns all state; jobs on their threads only send it messages.
//!
//! A node is looked at once everything it reads is done: fresh nodes cost a look into the cache, stale ones a job.
//! A job checks the bytes of what it reads against their digest, each artifact once a run; a damaged one is put aside by
//! the cache and the pass begins anew, so that its node runs again and nobody is served wrong bytes.
//!
//! Other processes may work on the same cache. What one of them runs at the moment is waited for, without a slot, and
//! taken over should it die.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::child::Message;
use super::decide::{Decider, Decision};
use super::event::{EVENT_VERSION, Event, Observer};
use super::job::Report;
use super::queue::Queue;
use super::resources::{Grant, Resources};
use super::worker::Control;
use super::{ExecError, Rehearsed};
use crate::cache::{Action, Cache, RunId};
use crate::digest::Digest;
use crate::ops::DeviceChoice;
use crate::plan::graph::{InstanceId, Plan};
use crate::plan::{KeyParts, StaleReason};
use crate::spec::lock::Lock;
use crate::spec::params::Kind;

/// How a run is to be done.
pub struct RunOptions<'a> {
    /// The program that children run: this one.
    pub program: PathBuf,
    /// How many nodes may run at once.
    pub jobs: usize,
    /// How many threads all of them together should use.
    pub cores: usize,
    /// What nodes may compute on.
    pub device: DeviceChoice,
    /// What the machine has for nodes that say what they need.
    pub resources: Resources,
    /// Whether nodes that don't depend on a failed one still run.
    pub keep_going: bool,
    /// How often a node is tried again after a failure, where it does not say so itself.
    pub retries: u32,
    /// How long one try of a node may take, where it does not say so itself.
    pub timeout: Option<Duration>,
    /// The node instances to bring up to date, as a flag for every instance; with all they are made from.
    pub wanted: Vec<bool>,
    /// Node instances that run even when they are fresh.
    pub forced: HashSet<InstanceId>,
    /// Node instances that run although they are fresh, only to be compared: what they give is not kept.
    pub rehearse: HashSet<InstanceId>,
    /// A lockfile that the results must agree with.
    pub locked: Option<&'a Lock>,
    /// A run in the history of the cache that this one continues.
    pub run: Option<RunId>,
    /// Set when the user wants the run to stop.
    pub cancelled: &'a AtomicBool,
}

/// What a run did.
#[derive(Debug)]
pub struct RunReport {
    /// The node instances that ran, in graph order.
    pub ran: Vec<String>,
    /// Those that came from the remote store.
    pub fetched: Vec<String>,
    /// Those that need not.
    pub fresh: Vec<String>,
    /// Those that failed.
    pub failed: Vec<String>,
    /// Those that did not run because of a failure or an interruption.
    pub skipped: Vec<String>,
    /// What those gave that ran only to be compared.
    pub rehearsed: BTreeMap<String, Rehearsed>,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// Whether a node failed for having given other bytes than the lockfile demands.
    pub drifted: bool,
    /// What kept luthflow itself from going on: the cache or the machine, rather than a node.
    pub broken: Option<ExecError>,
    /// The result of every node instance that has one.
    pub actions: Vec<Option<Action>>,
    /// The run in the history of the cache, if anything ran.
    pub id: Option<RunId>,
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
    let cache = decider.cache;
    Ok(std::thread::scope(|scope| {
        let mut scheduler = Scheduler {
            scope,
            plan,
            decider,
            cache,
            options,
            observer,
            reports,
            free: options.resources.clone(),
            states: Vec::new(),
            done: Vec::new(),
            queue: Queue::default(),
            running: BTreeMap::new(),
            ready: VecDeque::new(),
            checked: Arc::default(),
            ran: BTreeSet::new(),
            fetched: BTreeSet::new(),
            rehearsed: BTreeMap::new(),
            told: HashSet::new(),
            run_id: options.run.clone(),
            drifted: false,
            unclaimed: Vec::new(),
            failures: 0,
            broken: None,
            damaged: false,
        };
        loop {
            scheduler.pass(&inbox);
            if !std::mem::take(&mut scheduler.damaged) || scheduler.broken.is_some() {
                break;
            }
        }
        scheduler.finish(started)
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// So many of the instances it reads are not done.
    Waiting(usize),
    /// Decided, in the queue or running.
    Active,
    Fresh,
    Fetched,
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
    pub(super) why: Why,
    /// How often it was tried.
    pub(super) tries: u32,
    /// Not to be started before.
    pub(super) not_before: Option<Instant>,
    /// Another process runs it.
    pub(super) elsewhere: bool,
}

/// Why an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The cache has no result.
    Stale,
    /// It is to run although the cache holds its result.
    Again,
    /// To be compared.
    Rehearsal,
}

pub(super) struct Running {
    pub(super) control: Arc<Control>,
    pub(super) grant: Grant,
    pub(super) queued: Queued,
    pub(super) log: PathBuf,
    /// When its time is up.
    pub(super) deadline: Option<Instant>,
    /// When it was asked to end, and is ended if it does not.
    pub(super) asked: Option<Instant>,
    pub(super) timed_out: bool,
    pub(super) progress: (String, u64, Option<u64>, String, String),
}

pub(super) struct Scheduler<'scope, 'env, 'o> {
    pub(super) scope: &'scope Scope<'scope, 'env>,
    pub(super) plan: &'env Plan,
    pub(super) decider: &'env Decider<'env>,
    pub(super) cache: &'env Cache,
    pub(super) options: &'env RunOptions<'env>,
    pub(super) observer: &'o mut dyn Observer,
    pub(super) reports: Sender<Report>,
    /// What of the machine nobody has.
    pub(super) free: Resources,
    pub(super) states: Vec<State>,
    pub(super) done: Vec<Option<Action>>,
    pub(super) queue: Queue,
    pub(super) running: BTreeMap<InstanceId, Running>,
    /// Instances whose inputs are all done, still to be looked at.
    pub(super) ready: VecDeque<InstanceId>,
    /// Artifacts whose bytes were found right in this run.
    pub(super) checked: Arc<Mutex<HashSet<Digest>>>,
    pub(super) ran: BTreeSet<InstanceId>,
    pub(super) fetched: BTreeSet<InstanceId>,
    pub(super) rehearsed: BTreeMap<String, Rehearsed>,
    /// Instances whose end an observer was told of.
    pub(super) told: HashSet<InstanceId>,
    pub(super) run_id: Option<RunId>,
    /// Whether an artifact was not the one in the lockfile.
    pub(super) drifted: bool,
    /// What was found in the cache and is not yet claimed against garbage collection.
    pub(super) unclaimed: Vec<Digest>,
    /// How many instances failed.
    pub(super) failures: usize,
    /// What keeps luthflow itself from going on. What runs then ends and is kept, and nothing starts any more.
    pub(super) broken: Option<ExecError>,
    /// Whether an artifact was found damaged, so that the pass has to begin anew.
    pub(super) damaged: bool,
}

/// How often is looked for what no message tells: Ctrl-C, deadlines, nodes that another process runs.
const TICK: Duration = Duration::from_millis(100);
/// How long a node that was asked to end may take to.
const GRACE: Duration = Duration::from_secs(5);
/// How long a training may: it ends its batch and saves what it has.
const GRACE_TO_SAVE: Duration = Duration::from_mins(2);

impl Scheduler<'_, '_, '_> {
    /// Goes through the graph once, until nothing runs and nothing can start.
    fn pass(&mut self, inbox: &Receiver<Report>) {
        self.begin_pass();
        loop {
            if let Err(error) = self.advance() {
                self.broken.get_or_insert(error);
            }
            if self.running.is_empty() && (self.queue.is_empty() || !self.may_start()) {
                break;
            }
            match inbox.recv_timeout(TICK) {
                Ok(Report::Said(id, message)) => self.said(id, message),
                Ok(Report::Ended(id, ending, took)) => self.ended(id, *ending, took),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.watch();
        }
    }

    /// Makes every instance wait that has not failed already.
    fn begin_pass(&mut self) {
        self.done = vec![None; self.plan.instances().len()];
        self.queue = Queue::default();
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
    pub(super) fn may_start(&self) -> bool {
        let failed = !self.options.keep_going && self.failures > 0;
        !failed && !self.damaged && self.broken.is_none() && !self.interrupted()
    }

    /// Asks nodes to end that nobody wants any more or whose time is up, and ends those that do not listen.
    fn watch(&mut self) {
        let (interrupted, now) = (self.interrupted(), Instant::now());
        for (id, running) in &mut self.running {
            let late = running.deadline.is_some_and(|deadline| now >= deadline);
            if (interrupted || late) && running.asked.is_none() {
                running.timed_out = late && !interrupted;
                running.asked = Some(now);
                running.control.ask();
            }
            let grace = if self.plan.instance(*id).kind() == Kind::Sft { GRACE_TO_SAVE } else { GRACE };
            if running.asked.is_some_and(|asked| now.duration_since(asked) > grace) {
                running.control.kill();
            }
        }
    }

    /// Looks at all that is ready and starts what has a slot.
    fn advance(&mut self) -> Result<(), ExecError> {
        if self.ready.is_empty() && self.queue.is_empty() {
            return Ok(());
        }
        // What is found in the cache is claimed before a garbage collection can come between.
        let _gate = self.cache.gate()?;
        self.look_and_start()?;
        if !self.running.is_empty() {
            self.cache.claim(&std::mem::take(&mut self.unclaimed))?;
        }
        Ok(())
    }

    fn look_and_start(&mut self) -> Result<(), ExecError> {
        loop {
            while let Some(id) = self.ready.pop_front() {
                self.look(id)?;
            }
            if !self.may_start() || !self.start_next()? {
                return Ok(());
            }
        }
    }

    /// Decides about an instance whose inputs are all done.
    fn look(&mut self, id: InstanceId) -> Result<(), ExecError> {
        self.states[id.index()] = State::Active;
        let decision = self.decider.decide(id, &self.done)?;
        if self.plan.instance(id).kind() == Kind::Select {
            return self.select(id, decision);
        }
        let forced = self.options.forced.contains(&id) && !self.ran.contains(&id);
        let (key, parts, reasons, why) = match decision {
            Decision::Stale { key, parts, reasons } => (key, *parts, reasons, Why::Stale),
            Decision::Fresh(action) => {
                let drifted = self.drift(id, &action.artifact).is_some();
                let rehearse = self.options.rehearse.contains(&id) && !self.told.contains(&id);
                if !forced && !drifted && !rehearse {
                    self.fresh(id, *action);
                    return Ok(());
                }
                let parts = self.decider.parts_of(id, &self.done)?;
                let reason = if drifted { StaleReason::NotAsLocked } else { StaleReason::Forced };
                let (key, why) = (action.key, if rehearse { Why::Rehearsal } else { Why::Again });
                if rehearse {
                    self.fresh(id, *action);
                }
                (key, parts, vec![reason], why)
            }
        };
        let queued = Queued { key, parts, reasons, why, tries: 0, not_before: None, elsewhere: false };
        self.queue.insert(self.plan.rank(id), queued);
        Ok(())
    }

    pub(super) fn fresh(&mut self, id: InstanceId, action: Action) {
        let instance = self.plan.instance(id);
        let known = self.ran.contains(&id) || self.fetched.contains(&id);
        if !known && self.told.insert(id) {
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
    pub(super) fn complete(&mut self, id: InstanceId, mut action: Action, state: State) {
        // What its key is made of is most of it, and nobody needs it any more.
        action.parts = Value::Null;
        if state == State::Fresh {
            self.unclaimed.push(action.artifact);
        }
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
            Message::Warning { text } => {
                let node = self.plan.instance(id).name.clone();
                return self.observer.event(&Event::NodeWarned { node, text });
            }
            // The job keeps it.
            Message::Answer(_) => return,
        }
        let (phase, done, total, unit, note) = running.progress.clone();
        let node = self.plan.instance(id).name.clone();
        self.observer.event(&Event::NodeProgress { node, phase, done, total, unit, note });
    }
}
