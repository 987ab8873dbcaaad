//! One run over several rounds, as an observer sees it: one beginning, one end, and every node told once.

use std::collections::HashSet;
use std::time::Instant;

use crate::exec::{Event, Observer, RunReport};

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
