//! What becomes of a node that ended: committed, failed, skipped; and of a run that is over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::child::Answer;
use super::decide::Decider;
use super::event::Event;
use super::scheduler::{Rehearsed, RunReport, Running, Scheduler, State};
use super::{ExecError, locked};
use crate::cache::{Action, CacheError, NewAction};
use crate::digest::{Digest, Manifest};
use crate::ops::Outcome;
use crate::plan::InstanceId;

/// How a commit can fail.
enum Refusal {
    /// The artifact is not the one in the lockfile; it was not kept.
    Drifted(String),
    /// The cache or the disk.
    Broken(ExecError),
}

impl Scheduler<'_, '_> {
    /// Takes note of a child that ended. A finished result is kept even when the user has stopped the run meanwhile.
    pub(super) fn ended(&mut self, id: InstanceId, answer: Answer, took: Duration) {
        let Some(running) = self.running.remove(&id) else { return };
        let log = running.files.log.clone();
        match answer {
            Answer::Done(outcome) => match self.commit(id, running, outcome, took) {
                Ok(action) => self.complete(id, action, State::Ran),
                Err(Refusal::Drifted(why)) => {
                    self.drifted = true;
                    let help =
                        "it is not reproducible here, or something outside the pipeline changed; nothing was kept";
                    self.fail(id, vec![why], Some(help.into()), log);
                }
                Err(Refusal::Broken(error)) => {
                    self.fail(id, vec!["its result cannot be kept".into(), error.to_string()], error.help(), log);
                    self.broken.get_or_insert(error);
                }
            },
            Answer::Failed { .. } if self.interrupted() => self.states[id.index()] = State::Skipped,
            Answer::Failed { error, help } => self.fail(id, error, help, log),
        }
    }

    fn commit(
        &mut self,
        id: InstanceId,
        running: Running,
        outcome: Outcome,
        took: Duration,
    ) -> Result<Action, Refusal> {
        let instance = self.plan.instance(id);
        if self.options.rehearse.contains(&id)
            && let Some(kept) = self.cache.action(&running.key).map_err(|error| Refusal::Broken(error.into()))?
        {
            self.rehearsed(id, &running, outcome).map_err(Refusal::Broken)?;
            return Ok(kept);
        }
        if self.options.locked.is_some() {
            // A refused result must not be found by the next run, so it is looked at before it is kept.
            let listing = Manifest::of_dir(running.staging.path());
            let listing = listing.map_err(|error| Refusal::Broken(ExecError::Cache(error.into())))?;
            if let Some(why) = self.drift(id, &listing.digest()) {
                return Err(Refusal::Drifted(why));
            }
        }
        let outputs =
            instance.op.outputs().into_iter().map(|output| (output.name.into(), output.path.into())).collect();
        let new = NewAction {
            key: running.key,
            kind: instance.kind().name().to_owned(),
            parts: running.parts.to_value(),
            outputs,
            metrics: outcome.metrics,
            measured: outcome.measured,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            producer: locked::producer(),
        };
        let action = self.cache.commit(running.staging, new).map_err(|error| Refusal::Broken(error.into()))?;
        // Its bytes were hashed a moment ago.
        self.checked.insert(action.artifact);
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
        Ok(action)
    }

    /// Takes down what a rehearsal gave. Its staging folder goes when `running` does.
    fn rehearsed(&mut self, id: InstanceId, running: &Running, outcome: Outcome) -> Result<(), ExecError> {
        let instance = self.plan.instance(id);
        let listing = Manifest::of_dir(running.staging.path()).map_err(CacheError::from)?;
        let outputs = instance.op.outputs().into_iter();
        let outputs = outputs.map(|output| (output.name.into(), listing.subtree(&output.path).digest())).collect();
        let gave = Rehearsed { artifact: listing.digest(), outputs, metrics: outcome.metrics };
        self.rehearsed.insert(instance.name.clone(), gave);
        Ok(())
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
        let (ran, fresh) =
            (named(&|id| self.ran.contains(&id)), named(&|id| is(id, State::Fresh) && !self.ran.contains(&id)));
        let (failed, skipped) =
            (named(&|id| is(id, State::Failed)), named(&|id| is(id, State::Skipped) && !self.ran.contains(&id)));
        let seconds = started.elapsed().as_secs_f64();
        let event = Event::RunFinished {
            ran: ran.clone(),
            fresh: fresh.clone(),
            failed: failed.clone(),
            skipped: skipped.clone(),
            interrupted,
            seconds,
        };
        let mut broken = self.broken.take();
        if let Err(error) = self.put_on_record(&event) {
            broken.get_or_insert(error);
        }
        self.observer.event(&event);
        RunReport {
            ran,
            fresh,
            failed,
            skipped,
            interrupted,
            drifted: self.drifted,
            broken,
            actions: self.done,
            rehearsed: self.rehearsed,
            run_id: self.run_id,
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
