//! One run over several rounds, as an observer sees it: one beginning, one end, and every node told once.

use std::collections::HashSet;
use std::time::Instant;

use crate::exec::{Event, Observer, RunReport};
use crate::plan::Plan;
use crate::spec::params::Search;

/// The searches that are not known to be over. What reads a best instance waits until it can no longer change: it may be
/// a training, and one for each trial would be a waste.
pub(super) struct Open(Vec<String>);

impl Open {
    pub(super) fn new(searches: &[(String, Search)]) -> Self {
        Self(searches.iter().map(|(node, _)| node.clone()).collect())
    }

    /// Takes what reads the outcome of an open search out of what is wanted.
    pub(super) fn hold(&self, plan: &Plan, wanted: &[bool]) -> Vec<bool> {
        let mut now = wanted.to_vec();
        let searching = plan.ids().filter(|id| self.0.contains(&plan.instance(*id).node));
        let mut stack: Vec<_> = searching.flat_map(|id| plan.downstream(id)).collect();
        while let Some(id) = stack.pop() {
            if std::mem::take(&mut now[id.index()]) {
                stack.extend(plan.downstream(id));
            }
        }
        now
    }

    /// Takes note that those of the searches that ran are over: none has a value to try. Says whether there were any.
    pub(super) fn close(&mut self, plan: &Plan, ran: &[bool]) -> bool {
        let before = self.0.len();
        self.0.retain(|node| !plan.ids().any(|id| ran[id.index()] && plan.instance(id).node == *node));
        self.0.len() < before
    }
}

/// Tells that what waited for a search will not run.
pub(super) fn give_up(plan: &Plan, report: &mut RunReport, wanted: &[bool], now: &[bool], observer: &mut dyn Observer) {
    let because = report.failed.first().filter(|_| !report.interrupted);
    let because = because.cloned().unwrap_or_else(|| "interrupted".to_owned());
    for id in plan.order().iter().filter(|id| wanted[id.index()] && !now[id.index()]) {
        let node = plan.instance(*id).name.clone();
        report.skipped.push(node.clone());
        observer.event(&Event::NodeSkipped { node, because: because.clone() });
    }
}

/// Passes the events of all rounds on, as those of one run.
pub(super) struct Rounds<'o> {
    inner: &'o mut dyn Observer,
    begun: bool,
    told: HashSet<String>,
}

impl<'o> Rounds<'o> {
    pub(super) fn new(inner: &'o mut dyn Observer) -> Self {
        Self { inner, begun: false, told: HashSet::new() }
    }

    /// Tells that the run is over.
    pub(super) fn end(self, report: &RunReport, started: Instant) {
        self.inner.event(&Event::RunFinished {
            ran: report.ran.clone(),
            fetched: report.fetched.clone(),
            fresh: report.fresh.clone(),
            failed: report.failed.clone(),
            skipped: report.skipped.clone(),
            interrupted: report.interrupted,
            seconds: started.elapsed().as_secs_f64(),
        });
    }
}

impl Observer for Rounds<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { .. } if std::mem::replace(&mut self.begun, true) => {}
            Event::RunFinished { .. } => {}
            // What ran in one round is fresh in the next: nothing new.
            Event::NodeFresh { node, .. } if !self.told.insert(node.clone()) => {}
            Event::NodeFinished { node, .. } | Event::NodeFetched { node, .. } | Event::NodeChose { node, .. } => {
                self.told.insert(node.clone());
                self.inner.event(event);
            }
            _ => self.inner.event(event),
        }
    }
}

/// Returns what all rounds did: the last one, and what ran in those before.
pub(super) fn after(earlier: Option<RunReport>, mut last: RunReport) -> RunReport {
    let Some(earlier) = earlier else { return last };
    let add = |before: Vec<String>, last: &mut Vec<String>| {
        let new: Vec<String> = last.iter().filter(|name| !before.contains(name)).cloned().collect();
        *last = before.into_iter().chain(new).collect();
    };
    add(earlier.ran, &mut last.ran);
    add(earlier.fetched, &mut last.fetched);
    last.fresh.retain(|name| !last.ran.contains(name) && !last.fetched.contains(name));
    last
}
