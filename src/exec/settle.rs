//! What becomes of a node that ended: kept, tried again, failed, skipped; and of a run that is over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::decide::{Decider, Decision};
use super::event::Event;
use super::job::{Ending, Rehearsed};
use super::scheduler::{Queued, RunReport, Running, Scheduler, State, Why};
use super::select;
use super::{ExecError, locked};
use crate::cache::{Action, NewAction};
use crate::digest::Digest;
use crate::plan::InstanceId;

/// How long is waited before the first new try, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Scheduler<'_, '_, '_> {
    /// Takes note of a job that ended. A finished result is kept even when the user has stopped the run meanwhile.
    pub(super) fn ended(&mut self, id: InstanceId, ending: Ending, took: Duration) {
        let Some(mut running) = self.running.remove(&id) else { return };
        self.free.give_back(std::mem::take(&mut running.grant));
        let log = running.log.clone();
        match ending {
            Ending::Committed(action) => self.ran(id, action, took),
            Ending::Fetched(action) => self.came(id, action, running, took),
            Ending::Rehearsed(rehearsed) => {
                self.told.insert(id);
                self.observer.event(&Event::NodeRehearsed {
                    node: self.plan.instance(id).name.clone(),
                    kind: self.plan.instance(id).kind().name(),
                    artifact: rehearsed.artifact,
                    seconds: took.as_secs_f64(),
                });
                self.rehearsed.insert(self.plan.instance(id).name.clone(), rehearsed);
            }
            Ending::Damaged => self.damaged = true,
            Ending::Drifted(found) => {
                self.drifted = true;
                let why = self.drift(id, &found).unwrap_or_default();
                let help = "it is not reproducible here, or something outside the pipeline changed; nothing was kept";
                self.fail(id, vec![why], Some(help.into()), log);
            }
            Ending::Broken(error) => {
                self.fail(id, vec!["its result cannot be kept".into(), error.to_string()], error.help(), log);
                self.broken.get_or_insert(error);
            }
            Ending::Failed { .. } if self.interrupted() && !running.timed_out => {
                self.states[id.index()] = State::Skipped;
            }
            Ending::Failed { error, help } => self.failed(id, running, error, help),
        }
    }

    fn ran(&mut self, id: InstanceId, action: Action, took: Duration) {
        let instance = self.plan.instance(id);
        self.ran.insert(id);
        self.told.insert(id);
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
        self.complete(id, action, State::Ran);
    }

    /// Takes what the remote store had, unless the lockfile demands something else: then the node runs after all.
    fn came(&mut self, id: InstanceId, action: Action, running: Running, took: Duration) {
        if self.drift(id, &action.artifact).is_some() {
            let queued = Queued { why: Why::Again, ..running.queued };
            self.queue.insert(self.plan.rank(id), queued);
            return;
        }
        let instance = self.plan.instance(id);
        self.fetched.insert(id);
        self.told.insert(id);
        self.observer.event(&Event::NodeFetched {
            node: instance.name.clone(),
            kind: instance.kind().name(),
            key: action.key,
            artifact: action.artifact,
            path: self.cache.artifact_path(&action.artifact),
            seconds: took.as_secs_f64(),
        });
        self.complete(id, action, State::Fetched);
    }

    /// A node that failed is tried again, each time after twice as long a wait, as often as it may be.
    fn failed(&mut self, id: InstanceId, running: Running, mut error: Vec<String>, mut help: Option<String>) {
        let execution = self.plan.instance(id).execution;
        if running.timed_out {
            let limit = execution.timeout.or(self.options.timeout).unwrap_or_default();
            error = vec![format!("it took longer than its timeout of {} s, and was ended", limit.as_secs_f64())];
            help = Some("give it more with `timeout:`, or `--timeout` for all nodes".into());
        }
        let retries = if execution.retries > 0 { execution.retries } else { self.options.retries };
        let mut queued = running.queued;
        if queued.tries >= retries || !self.may_start() {
            self.fail(id, error, help, running.log);
            return;
        }
        let wait = FIRST_WAIT.saturating_mul(2u32.saturating_pow(queued.tries)).min(LONGEST_WAIT);
        queued.tries += 1;
        queued.not_before = Some(Instant::now() + wait);
        self.observer.event(&Event::NodeRetrying {
            node: self.plan.instance(id).name.clone(),
            kind: self.plan.instance(id).kind().name(),
            error,
            attempt: queued.tries,
            attempts: retries,
            wait_seconds: wait.as_secs_f64(),
        });
        self.queue.insert(self.plan.rank(id), queued);
    }

    /// A selection compares metrics that are on record: nothing runs, and what it gives on has its bytes already.
    pub(super) fn select(&mut self, id: InstanceId, decision: Decision) -> Result<(), ExecError> {
        let (key, parts) = match decision {
            Decision::Fresh(action) => {
                if self.options.rehearse.contains(&id) && !self.told.contains(&id) {
                    self.choose_again(id);
                }
                self.fresh(id, *action);
                return Ok(());
            }
            Decision::Stale { key, parts, .. } => (key, parts),
        };
        let instance = self.plan.instance(id);
        let (chosen, of) = match select::choose(self.plan, id, &self.done) {
            Ok(choice) => choice,
            Err(why) => {
                let help = "`luthflow show` lists the metrics of a node";
                self.fail(id, vec![why], Some(help.into()), PathBuf::new());
                return Ok(());
            }
        };
        let metrics = chosen.metrics();
        let new = NewAction {
            key,
            kind: instance.kind().name().to_owned(),
            parts: parts.to_value(),
            outputs: Vec::new(),
            metrics,
            measured: std::collections::BTreeMap::new(),
            duration_ms: 0,
            producer: locked::producer(),
            chosen: serde_json::to_value(&chosen).ok(),
        };
        let action = self.cache.commit_alias(new, &of)?;
        self.observer.event(&Event::NodeChose {
            node: instance.name.clone(),
            kind: instance.kind().name(),
            key,
            artifact: action.artifact,
            instance: chosen.instance,
            axes: chosen.axes,
            value: chosen.value,
            of: chosen.of,
        });
        self.ran.insert(id);
        self.told.insert(id);
        self.complete(id, action, State::Ran);
        Ok(())
    }

    /// Makes a choice once more, to be compared with the one on record.
    fn choose_again(&mut self, id: InstanceId) {
        let Ok((chosen, of)) = select::choose(self.plan, id, &self.done) else { return };
        let rehearsed = Rehearsed { artifact: of.artifact, outputs: of.outputs, metrics: chosen.metrics() };
        self.rehearsed.insert(self.plan.instance(id).name.clone(), rehearsed);
    }

    /// Says how an artifact differs from the lockfile, when the run must agree with one.
    pub(super) fn drift(&self, id: InstanceId, artifact: &Digest) -> Option<String> {
        let lock = self.options.locked?;
        let locked = lock.node(&self.plan.instance(id).name)?;
        (locked.artifact != artifact.hex()).then(|| {
            let here = locked::platform();
            let there = locked.platform.as_deref().unwrap_or(&lock.platform);
            let platform =
                if here == there { String::new() } else { format!(" (locked on {there}, and this is {here})") };
            format!("its artifact is {}, and the lockfile demands {}{platform}", artifact.hex(), locked.artifact)
        })
    }

    pub(super) fn fail(&mut self, id: InstanceId, error: Vec<String>, help: Option<String>, log: PathBuf) {
        let instance = self.plan.instance(id);
        self.states[id.index()] = State::Failed;
        self.failures += 1;
        self.told.insert(id);
        let (node, kind) = (instance.name.clone(), instance.kind().name());
        self.observer.event(&Event::NodeFailed { node: node.clone(), kind, error, help, log });
        let mut stack: Vec<InstanceId> = self.plan.downstream(id).collect();
        while let Some(id) = stack.pop() {
            if matches!(self.states[id.index()], State::Waiting(_)) {
                self.skip(id, &node);
                stack.extend(self.plan.downstream(id));
            }
        }
    }

    fn skip(&mut self, id: InstanceId, because: &str) {
        self.states[id.index()] = State::Skipped;
        if self.told.insert(id) {
            let node = self.plan.instance(id).name.clone();
            self.observer.event(&Event::NodeSkipped { node, because: because.to_owned() });
        }
    }

    /// Says what became of everything, and makes the run a part of the cache's history.
    pub(super) fn finish(mut self, started: Instant) -> RunReport {
        let interrupted = self.interrupted();
        let failed = self.plan.order().iter().find(|id| self.states[id.index()] == State::Failed);
        let because = match failed {
            _ if interrupted => "interrupted".to_owned(),
            Some(id) => self.plan.instance(*id).name.clone(),
            None => "stopped".to_owned(),
        };
        let open = |state: &State| matches!(state, State::Waiting(_) | State::Active | State::Skipped);
        for id in self.plan.order().iter().copied() {
            if open(&self.states[id.index()]) {
                self.skip(id, &because);
            }
        }
        let named = |pick: &dyn Fn(InstanceId) -> bool| -> Vec<String> {
            let ids = self.plan.order().iter().filter(|id| pick(**id));
            ids.map(|id| self.plan.instance(*id).name.clone()).collect()
        };
        let is = |id: InstanceId, state: State| self.states[id.index()] == state;
        let made = |id: InstanceId| self.ran.contains(&id) || self.fetched.contains(&id);
        let ran = named(&|id| self.ran.contains(&id));
        let fetched = named(&|id| self.fetched.contains(&id) && !self.ran.contains(&id));
        let fresh = named(&|id| is(id, State::Fresh) && !made(id));
        let failed = named(&|id| is(id, State::Failed));
        let skipped = named(&|id| is(id, State::Skipped) && !made(id));
        let event = Event::RunFinished {
            ran: ran.clone(),
            fetched: fetched.clone(),
            fresh: fresh.clone(),
            failed: failed.clone(),
            skipped: skipped.clone(),
            interrupted,
            seconds: started.elapsed().as_secs_f64(),
        };
        let mut broken = self.broken.take();
        if let Err(error) = self.put_on_record(&event) {
            broken.get_or_insert(error);
        }
        self.observer.event(&event);
        RunReport {
            ran,
            fetched,
            fresh,
            failed,
            skipped,
            rehearsed: self.rehearsed,
            interrupted,
            drifted: self.drifted,
            broken,
            actions: self.done,
            id: self.run_id,
        }
    }

    fn put_on_record(&self, event: &Event) -> Result<(), ExecError> {
        remember(self.decider, &self.done)?;
        if let Some(run_id) = &self.run_id {
            self.cache.finish_run(run_id, &serde_json::to_value(event).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Notes the key that every instance has now, so that the next change can be explained.
fn remember(decider: &Decider<'_>, actions: &[Option<Action>]) -> Result<(), ExecError> {
    let named = decider.plan.instances().iter().zip(actions);
    let keys: Vec<_> =
        named.filter_map(|(instance, action)| Some((instance.name.clone(), action.as_ref()?.key))).collect();
    // The index writes only those that it does not know already.
    Ok(decider.cache.remember(&decider.scope, &keys)?)
}
