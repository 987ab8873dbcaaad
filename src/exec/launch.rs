//! Starting a node: its inputs are checked, its staging folder and files are made, and a child process begins.

use std::collections::BTreeMap;

use super::ExecError;
use super::child::Request;
use super::event::Event;
use super::scheduler::{Queued, Running, Scheduler};
use super::sources::SourceFile;
use super::worker::{self, WorkerFiles};
use crate::cache::{CacheError, RunId};
use crate::ops::{InputArtifact, Inputs};
use crate::plan::InstanceId;
use crate::spec::params::Kind;

impl Scheduler<'_, '_> {
    pub(super) fn start(&mut self, id: InstanceId, queued: Queued) -> Result<(), ExecError> {
        let instance = self.plan.instance(id);
        if !self.inputs_are_whole(id)? {
            self.damaged = true;
            return Ok(());
        }
        let staging = self.cache.begin(&instance.name)?;
        let log = self.cache.log_path(self.run_id()?, &instance.name);
        let files =
            WorkerFiles { request: log.with_extension("request.json"), result: log.with_extension("result.json"), log };
        // A training takes every core for minutes: it must not be left with half of them because something small
        // happened to run when it began.
        let sharing = self.options.jobs.min(self.running.len() + 1 + self.queue.len()).max(1);
        let threads =
            if instance.kind() == Kind::Sft { self.options.cores } else { self.options.cores / sharing }.max(1);
        let request = Request {
            kind: instance.kind(),
            fields: instance.fields.clone(),
            inputs: self.inputs(id)?,
            out: staging.path().to_path_buf(),
            scratch: staging.scratch().join("work"),
            result: files.result.clone(),
            threads,
        };
        self.observer.event(&Event::NodeStarted {
            node: instance.name.clone(),
            kind: instance.kind().name(),
            reasons: queued.reasons,
            threads,
        });
        let worker = worker::start(&self.options.program, id, &request, &files, self.reports.clone())?;
        let progress = (String::new(), 0, None, String::new(), String::new());
        let (key, parts) = (queued.key, queued.parts);
        self.running.insert(id, Running { worker: Some(worker), staging, key, parts, files, progress });
        Ok(())
    }

    /// Checks the bytes of everything an instance reads, each artifact once a run.
    fn inputs_are_whole(&mut self, id: InstanceId) -> Result<bool, ExecError> {
        for slot in &self.plan.instance(id).slots {
            for artifact in &slot.artifacts {
                let Some(action) = &self.done[artifact.from.index()] else { continue };
                if self.checked.contains(&action.artifact) {
                    continue;
                }
                match self.cache.check(&action.artifact) {
                    Ok(()) => {
                        self.checked.insert(action.artifact);
                    }
                    Err(CacheError::Damaged { .. }) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }

    fn inputs(&self, id: InstanceId) -> Result<Inputs, ExecError> {
        let mut slots = BTreeMap::new();
        let instance = self.plan.instance(id);
        if instance.kind() == Kind::Source {
            let files = self.decider.source_files(id)?;
            let input = |file: &SourceFile| InputArtifact {
                name: file.name.clone(),
                label: file.name.clone(),
                axes: BTreeMap::new(),
                path: file.path.clone(),
                digest: Some(file.digest.hex()),
                chosen: false,
            };
            slots.insert("files".to_owned(), files.iter().map(input).collect());
        }
        for slot in &instance.slots {
            let mut artifacts = Vec::new();
            for artifact in &slot.artifacts {
                let from = self.plan.instance(artifact.from);
                let Some(action) = &self.done[artifact.from.index()] else { continue };
                artifacts.push(InputArtifact {
                    name: from.name.clone(),
                    label: self.plan.label(artifact.from).to_owned(),
                    axes: from.axes.clone(),
                    path: self.cache.artifact_path(&action.artifact).join(&*artifact.output.path),
                    digest: None,
                    chosen: from.kind() == Kind::Select,
                });
            }
            slots.insert(slot.name.clone(), artifacts);
        }
        Ok(Inputs(slots))
    }

    fn run_id(&mut self) -> Result<&RunId, ExecError> {
        if self.run_id.is_none() {
            self.run_id = Some(self.cache.start_run(&self.decider.scope)?);
        }
        Ok(self.run_id.as_ref().expect("it was just set"))
    }
}
