//! One run over several rounds, as an observer sees it: one beginning, one end, and every node told once.

use std::collections::HashSet;

use crate::exec::{Event, Observer};

/// Passes the events of all rounds on, as those of one run.
pub(super) struct Rounds<'o> {
    inner: &'o mut dyn Observer,
    begun: bool,
    told: HashSet<String>,
    /// What all rounds did, told by [`Rounds::end`].
    last: Option<Event>,
}

impl<'o> Rounds<'o> {
    pub(super) fn new(inner: &'o mut dyn Observer) -> Self {
        Self { inner, begun: false, told: HashSet::new(), last: None }
    }

    /// Tells that the run is over.
    pub(super) fn end(mut self) {
        if let Some(event) = self.last.take() {
            self.inner.event(&event);
        }
    }

    fn finished(&mut self, event: &Event) {
        let Event::RunFinished { ran, fetched, fresh, failed, skipped, interrupted, seconds } = event else { return };
        let (mut all_ran, mut all_fetched, mut before) = (Vec::new(), Vec::new(), 0.0);
        if let Some(Event::RunFinished { ran, fetched, seconds, .. }) = self.last.take() {
            (all_ran, all_fetched, before) = (ran, fetched, seconds);
        }
        let new = |all: &[String], more: &[String]| -> Vec<String> {
            more.iter().filter(|name| !all.contains(name)).cloned().collect()
        };
        all_ran.extend(new(&all_ran, ran));
        all_fetched.extend(new(&all_fetched, fetched));
        let made: Vec<String> = all_ran.iter().chain(&all_fetched).cloned().collect();
        self.last = Some(Event::RunFinished {
            ran: all_ran,
            fetched: all_fetched,
            fresh: new(&made, fresh),
            failed: failed.clone(),
            skipped: skipped.clone(),
            interrupted: *interrupted,
            seconds: before + seconds,
        });
    }
}

impl Observer for Rounds<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { .. } if std::mem::replace(&mut self.begun, true) => {}
            Event::RunFinished { .. } => self.finished(event),
            // What ran in one round is fresh in the next: nothing new.
            Event::NodeFresh { node, .. } if !self.told.insert(node.clone()) => {}
            Event::NodeFinished { node, .. } | Event::NodeFetched { node, .. } => {
                self.told.insert(node.clone());
                self.inner.event(event);
            }
            _ => self.inner.event(event),
        }
    }
}
