//! What waits for a slot, in graph order, and which of it comes next.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use super::ExecError;
use super::resources::{Grant, Scarce, wants};
use super::scheduler::{Queued, Scheduler, Why};
use crate::cache::{Lease, LeaseOutcome};
use crate::digest::Digest;
use crate::exec::event::Event;
use crate::plan::InstanceId;

/// Stale instances that wait for a slot, by their place in the graph's order.
#[derive(Default)]
pub(super) struct Queue(BTreeMap<usize, Queued>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, rank: usize, queued: Queued) {
        self.0.insert(rank, queued);
    }

    fn remove(&mut self, rank: usize) -> Option<Queued> {
        self.0.remove(&rank)
    }
}

impl Scheduler<'_, '_, '_> {
    /// Starts the next instance that can start, and says whether there was one.
    pub(super) fn start_next(&mut self) -> Result<bool, ExecError> {
        // Two instances can have the same key (a merge at t = 0 is its base): the second waits for the first.
        let busy: HashSet<Digest> = self.running.values().map(|running| running.queued.key).collect();
        let (now, full) = (Instant::now(), self.running.len() >= self.options.jobs);
        let mut scarce: Vec<Scarce> = Vec::new();
        let mut from = 0;
        while let Some(rank) = self.queue.0.range(from..).next().map(|(rank, _)| *rank).filter(|_| !full) {
            from = rank + 1;
            let id = self.plan.order()[rank];
            let execution = self.plan.instance(id).execution;
            let Some(queued) = self.queue.0.get(&rank) else { continue };
            let (key, why) = (queued.key, queued.why);
            if busy.contains(&key) || queued.not_before.is_some_and(|time| time > now) {
                continue;
            }
            if let Some((what, needs, has)) = self.options.resources.lacks(&execution) {
                let Some(_) = self.queue.remove(rank) else { continue };
                self.cannot_run(id, what, &needs, &has);
                return Ok(self.may_start());
            }
            if scarce.iter().any(|scarce| wants(&execution, *scarce)) {
                continue;
            }
            let grant = match self.free.take(&execution) {
                Ok(grant) => grant,
                Err(lacking) => {
                    scarce.push(lacking);
                    continue;
                }
            };
            if self.begin(rank, id, key, why, grant)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Starts an instance, or takes it as done if it meanwhile is. Not if another process runs it.
    fn begin(&mut self, rank: usize, id: InstanceId, key: Digest, why: Why, grant: Grant) -> Result<bool, ExecError> {
        // A rehearsal leaves nothing behind, so that nobody need keep away.
        let needed = why != Why::Rehearsal;
        let lease = if needed { self.lease(rank, id, &key) } else { Ok(None) };
        if needed && !matches!(lease, Ok(Some(_))) {
            self.free.give_back(grant);
            return lease.map(|_| false);
        }
        let lease = lease?;
        let Some(queued) = self.queue.remove(rank) else {
            self.free.give_back(grant);
            return Ok(false);
        };
        // Whoever ran the same action before has left its result.
        if why == Why::Stale
            && let Some(action) = self.cache.action(&key)?
        {
            self.free.give_back(grant);
            self.fresh(id, action);
            return Ok(true);
        }
        self.start(id, queued, lease, grant)?;
        Ok(true)
    }

    /// Takes the right to run an action; nothing, and a word to the observer, if another process has it.
    fn lease(&mut self, rank: usize, id: InstanceId, key: &Digest) -> Result<Option<Lease>, ExecError> {
        match self.cache.lease(key)? {
            LeaseOutcome::Taken(lease) => Ok(Some(lease)),
            LeaseOutcome::Held(holder) => {
                let node = self.plan.instance(id).name.clone();
                if let Some(queued) = self.queue.0.get_mut(&rank)
                    && !std::mem::replace(&mut queued.elsewhere, true)
                {
                    self.observer.event(&Event::NodeElsewhere { node, holder });
                }
                Ok(None)
            }
        }
    }

    fn cannot_run(&mut self, id: InstanceId, what: &str, needs: &str, has: &str) {
        let error = vec![format!("it needs {what} {needs}, and there is {has} here")];
        let help = format!("run it on another machine, or say what this one has with `--slots {what}=…`");
        self.fail(id, error, Some(help), std::path::PathBuf::new());
    }

    /// Threads for one more node, when so many run and wait beside it.
    pub(super) fn share_of_threads(&self) -> usize {
        let sharing = self.options.jobs.min(self.running.len() + 1 + self.queue.len()).max(1);
        (self.options.cores / sharing).max(1)
    }
}
