//! Starting a node: its staging folder, its request and its files are made, and a job begins on a thread of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::ExecError;
use super::child::Request;
use super::event::Event;
use super::job::{Job, Keep};
use super::locked;
use super::resources::Grant;
use super::scheduler::{Queued, Running, Scheduler, Why};
use super::select::Chosen;
use super::sources::SourceFile;
use super::worker::Control;
use crate::cache::{Action, Lease, NewAction, RunId};
use crate::digest::Digest;
use crate::ops::{InputArtifact, Inputs};
use crate::plan::InstanceId;
use crate::plan::graph::Artifacts;
use crate::spec::params::Kind;

impl Scheduler<'_, '_, '_> {
    pub(super) fn start(
        &mut self,
        id: InstanceId,
        queued: Queued,
        lease: Option<Lease>,
        grant: Grant,
    ) -> Result<(), ExecError> {
        let instance = self.plan.instance(id);
        self.cache.claim(&std::mem::take(&mut self.unclaimed))?;
        let staging = self.cache.begin(&instance.name)?;
        let log = self.cache.log_path(self.run_id()?, &instance.name);
        let request = Request {
            kind: instance.kind(),
            fields: instance.fields.clone(),
            inputs: self.inputs(id)?,
            out: staging.path().to_path_buf(),
            scratch: staging.work(),
            checkpoint: self.checkpoint(&queued, lease.as_ref()),
            // What was paid for is not asked again to see whether the same comes out.
            memo: (queued.why != Why::Rehearsal || instance.kind() == Kind::Generate).then(|| self.cache.memo()),
            threads: self.threads(id),
            device: self.options.device,
        };
        self.observer.event(&Event::NodeStarted {
            node: instance.name.clone(),
            kind: instance.kind().name(),
            reasons: queued.reasons.clone(),
            threads: request.threads,
        });
        let control = Arc::new(Control::default());
        let job = Job {
            id,
            cache: self.cache,
            program: self.options.program.clone(),
            request,
            environment: environment(&grant, self.decider.outside.is_offline()),
            log: log.clone(),
            staging: Some(staging),
            _lease: lease,
            reads: self.reads(id),
            checked: Arc::clone(&self.checked),
            new: self.new_action(id, &queued),
            keep: self.keep(id, queued.why),
            fetch: queued.why == Why::Stale && self.cache.has_remote(),
            control: Arc::clone(&control),
        };
        let reports = self.reports.clone();
        std::thread::Builder::new().name("job".into()).spawn_scoped(self.scope, move || job.run(&reports))?;
        let timeout = instance.execution.timeout.or(self.options.timeout);
        let running = Running {
            control,
            grant,
            queued,
            log,
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            asked: None,
            timed_out: false,
            progress: (String::new(), 0, None, String::new(), String::new()),
        };
        self.running.insert(id, running);
        Ok(())
    }

    /// Where a node may keep what it needs to go on after a kill. Only who holds the lease of the key may, and a run that is
    /// to show what comes out goes its own way. Other programs and platforms give other bytes, so each has its own.
    fn checkpoint(&self, queued: &Queued, lease: Option<&Lease>) -> Option<PathBuf> {
        let wanted = queued.why == Why::Stale && lease.is_some();
        let by = format!("{} {:?}", locked::producer(), self.options.device);
        wanted.then(|| self.cache.checkpoints(&queued.key).join(Digest::of(by.as_bytes()).short()))
    }

    /// How many threads an instance gets. A training takes every core for minutes: it must not be left with half of them
    /// because something small happened to run when it began.
    fn threads(&self, id: InstanceId) -> usize {
        let instance = self.plan.instance(id);
        match instance.execution.needs.cpu {
            Some(cores) => cores as usize,
            None if instance.kind() == Kind::Sft => self.options.cores,
            None => self.share_of_threads(),
        }
        .max(1)
    }

    fn new_action(&self, id: InstanceId, queued: &Queued) -> NewAction {
        let instance = self.plan.instance(id);
        let outputs =
            instance.op.outputs().into_iter().map(|output| (output.name.into(), output.path.into())).collect();
        NewAction {
            key: queued.key,
            kind: instance.kind().name().to_owned(),
            parts: queued.parts.to_value(),
            outputs,
            metrics: BTreeMap::new(),
            measured: BTreeMap::new(),
            duration_ms: 0,
            producer: locked::producer(),
            chosen: None,
        }
    }

    fn keep(&self, id: InstanceId, why: Why) -> Keep {
        if why == Why::Rehearsal {
            return Keep::Never;
        }
        let locked = self.options.locked.and_then(|lock| lock.node(&self.plan.instance(id).name));
        match locked.and_then(|locked| locked.artifact.parse().ok()) {
            Some(artifact) => Keep::IfArtifact(artifact),
            None if why == Why::Again => Keep::Instead,
            None => Keep::Always,
        }
    }

    /// The artifacts that an instance reads, each once.
    fn reads(&self, id: InstanceId) -> Vec<Digest> {
        let artifacts = self.plan.instance(id).slots.iter().flat_map(|slot| &slot.artifacts);
        let actions = artifacts.filter_map(|artifact| self.done[artifact.from.index()].as_ref());
        let mut reads: Vec<_> = actions.map(|action| action.artifact).collect();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn inputs(&self, id: InstanceId) -> Result<Inputs, ExecError> {
        let mut slots = BTreeMap::new();
        let instance = self.plan.instance(id);
        let files = self.decider.source_files(id)?;
        if !files.is_empty() {
            let input = |file: &SourceFile| InputArtifact {
                name: file.name.clone(),
                label: file.name.clone(),
                axes: BTreeMap::new(),
                path: file.path.clone(),
                digest: Some(file.written()),
                chosen: false,
            };
            slots.insert("files".to_owned(), files.iter().map(input).collect());
        }
        for slot in &instance.slots {
            let input = |artifact: &Artifacts| self.done_of(artifact).map(|action| self.input(artifact, action));
            slots.insert(slot.name.clone(), slot.artifacts.iter().filter_map(input).collect());
        }
        Ok(Inputs(slots))
    }

    fn done_of(&self, artifact: &Artifacts) -> Option<&Action> {
        self.done[artifact.from.index()].as_ref()
    }

    /// What an artifact is called is what a selection chose, where it is one.
    fn input(&self, artifact: &Artifacts, action: &Action) -> InputArtifact {
        let from = self.plan.instance(artifact.from);
        let chosen = Chosen::of_action(action);
        let label =
            chosen.as_ref().map_or_else(|| self.plan.label(artifact.from).to_owned(), |chosen| chosen.instance.clone());
        InputArtifact {
            name: from.name.clone(),
            label,
            axes: chosen.map_or_else(|| from.axes.clone(), |chosen| chosen.axes),
            path: self.cache.artifact_path(&action.artifact).join(&*artifact.output.path),
            digest: self.model_of(artifact.from).map(|action| action.artifact.to_string()),
            chosen: from.kind() == Kind::Select,
        }
    }

    /// What was made of the model that an instance scores or chose.
    fn model_of(&self, id: InstanceId) -> Option<&Action> {
        match self.plan.instance(id).kind() {
            Kind::Select => self.done[id.index()].as_ref(),
            _ => self.plan.scored(id).and_then(|model| self.done_of(model)),
        }
    }

    fn run_id(&mut self) -> Result<&RunId, ExecError> {
        if self.run_id.is_none() {
            self.run_id = Some(self.cache.start_run(&self.decider.scope)?);
        }
        Ok(self.run_id.as_ref().expect("it was just set"))
    }
}

/// Which GPUs a node may see: those that are its own, if it asked for any. And whether it may use the network.
fn environment(grant: &Grant, offline: bool) -> Vec<(String, String)> {
    let gpus = (!grant.gpus.is_empty()).then(|| ("CUDA_VISIBLE_DEVICES".to_owned(), grant.gpus.join(",")));
    let offline = offline.then(|| ("HF_HUB_OFFLINE".to_owned(), "1".to_owned()));
    gpus.into_iter().chain(offline).collect()
}
