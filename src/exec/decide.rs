//! Fresh or stale: a node instance, the contents of its inputs, and the cache.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::ExecError;
use super::outside::{Outside, Remote, is_outside};
use super::select::Chosen;
use super::sources::{self, SourceFile};
use crate::cache::{Action, Cache};
use crate::digest::Digest;
use crate::plan::graph::{Artifacts, Instance, InstanceId, Plan, Slot};
use crate::plan::{InputPart, KeyParts, StaleReason, stale};
use crate::spec::params::Op;
use crate::spec::sweep;

/// Decides what is fresh, for one plan over one cache.
pub struct Decider<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The cache.
    pub cache: &'a Cache,
    /// The folder that the sources' paths are relative to.
    pub base: PathBuf,
    /// Whose last keys the reasons compare with: the path of the pipeline file.
    pub scope: String,
    /// What looks at sources that do not lie on this machine.
    pub outside: Rc<Outside>,
    sources: RefCell<HashMap<InstanceId, Rc<Vec<SourceFile>>>>,
    works: OnceCell<HashSet<Digest>>,
}

/// Whether a node instance has to run.
#[derive(Debug)]
pub enum Decision {
    /// The cache holds its result: this, without what its key is made of.
    Fresh(Box<Action>),
    /// It has to run.
    Stale {
        /// Its key.
        key: Digest,
        /// What the key is made of.
        parts: Box<KeyParts>,
        /// Why.
        reasons: Vec<StaleReason>,
    },
}

/// What is known of a node instance before a run.
#[derive(Debug)]
pub enum NodeState {
    /// The cache holds its result: this, without what its key is made of.
    Fresh(Box<Action>),
    /// It will run.
    Stale(Vec<StaleReason>),
    /// Something it reads will run first; what that gives decides.
    Pending(Vec<StaleReason>),
}

impl<'a> Decider<'a> {
    /// Returns a decider for `plan`, whose file lies at `pipeline`.
    pub fn new(plan: &'a Plan, cache: &'a Cache, pipeline: &Path) -> Self {
        let absolute = fs_err::canonicalize(pipeline).unwrap_or_else(|_| pipeline.to_path_buf());
        let base = absolute.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let (sources, works) = Default::default();
        let outside = Rc::default();
        Self { plan, cache, base, scope: absolute.display().to_string(), outside, sources, works }
    }

    /// Looks at sources outside with this.
    #[must_use]
    pub fn looking(mut self, outside: &Rc<Outside>) -> Self {
        self.outside = Rc::clone(outside);
        self
    }

    /// Decides about an instance whose inputs are all there: `done` holds their actions.
    pub fn decide(&self, id: InstanceId, done: &[Option<Action>]) -> Result<Decision, ExecError> {
        let parts = self.parts_of(id, done)?;
        let key = parts.key();
        if let Some(mut action) = self.cache.action(&key)? {
            // Most of it, and no other key needs it.
            action.parts = Value::Null;
            return Ok(Decision::Fresh(Box::new(action)));
        }
        let reasons = self.reasons(id, &key, &parts)?;
        Ok(Decision::Stale { key, parts: Box::new(parts), reasons })
    }

    /// Returns the record of the key of an instance whose inputs are all there.
    pub fn parts_of(&self, id: InstanceId, done: &[Option<Action>]) -> Result<KeyParts, ExecError> {
        self.parts(id, |artifact| {
            let action = done[artifact.from.index()].as_ref()?;
            let digest = output_digest(action, &artifact.output.name)?;
            Some(Known { digest, whole: action.artifact, chosen: Chosen::of_action(action) })
        })
    }

    /// Decides about every instance as far as that can be known without running anything.
    pub fn preview(&self, wanted: &[bool]) -> Result<Vec<Option<NodeState>>, ExecError> {
        self.preview_forced(wanted, &HashSet::new())
    }

    /// Decides likewise for a run that forces some instances.
    pub fn preview_forced(
        &self,
        wanted: &[bool],
        forced: &HashSet<InstanceId>,
    ) -> Result<Vec<Option<NodeState>>, ExecError> {
        self.preview_without(wanted, forced, &HashSet::new())
    }

    /// Decides likewise, where some sources cannot be looked at: these are taken for new.
    pub(super) fn preview_without(
        &self,
        wanted: &[bool],
        forced: &HashSet<InstanceId>,
        unseen: &HashSet<InstanceId>,
    ) -> Result<Vec<Option<NodeState>>, ExecError> {
        self.cache.know_artifacts(&self.scope);
        let mut done: Vec<Option<Action>> = vec![None; self.plan.instances().len()];
        let mut states: Vec<Option<NodeState>> = Vec::new();
        states.resize_with(done.len(), || None);
        for id in self.plan.order().iter().copied().filter(|id| wanted[id.index()]) {
            let mut on: Vec<InstanceId> =
                self.plan.upstream(id).filter(|upstream| done[upstream.index()].is_none()).collect();
            on.sort_unstable();
            let state = if unseen.contains(&id) {
                NodeState::Stale(vec![StaleReason::NeverRun])
            } else if on.is_empty() {
                match self.decide(id, &done)? {
                    Decision::Fresh(_) if forced.contains(&id) => NodeState::Stale(vec![StaleReason::Forced]),
                    Decision::Fresh(action) => {
                        done[id.index()] = Some((*action).clone());
                        NodeState::Fresh(action)
                    }
                    Decision::Stale { reasons, .. } => NodeState::Stale(reasons),
                }
            } else {
                self.pending(id, &on)?
            };
            states[id.index()] = Some(state);
        }
        Ok(states)
    }

    /// Returns the actions of all instances that are fresh, as far as that can be known without running anything.
    pub fn known(&self) -> Result<Vec<Option<Action>>, ExecError> {
        let states = self.preview(&vec![true; self.plan.instances().len()])?;
        let action = |state| match state {
            Some(NodeState::Fresh(action)) => Some(*action),
            _ => None,
        };
        Ok(states.into_iter().map(action).collect())
    }

    /// An instance that waits. It will run whatever its inputs give if nothing with its settings is on record: under
    /// another name, or from before a change that was taken back.
    fn pending(&self, id: InstanceId, on: &[InstanceId]) -> Result<NodeState, ExecError> {
        let instance = self.plan.instance(id);
        let names = on.iter().map(|id| self.plan.instance(*id).name.clone()).collect();
        let last = self.cache.last(&self.scope, &instance.name)?;
        let mut reasons = match last.and_then(|last| KeyParts::from_value(&last.parts)) {
            Some(old) => {
                let same_inputs = KeyParts::new(instance, old.inputs.clone());
                stale::compare(&old, &same_inputs, |_| String::new())
            }
            None => vec![StaleReason::NeverRun],
        };
        let as_before = reasons.is_empty();
        reasons.push(StaleReason::Waiting { on: names });
        let may_be_known = as_before || self.works()?.contains(&KeyParts::new(instance, BTreeMap::new()).work());
        Ok(if may_be_known { NodeState::Pending(reasons) } else { NodeState::Stale(reasons) })
    }

    /// Returns what was ever done, whatever it read.
    fn works(&self) -> Result<&HashSet<Digest>, ExecError> {
        if self.works.get().is_none() {
            let actions = self.cache.actions()?;
            let works = actions.iter().filter_map(|action| Some(KeyParts::from_value(&action.parts)?.work()));
            let _ = self.works.set(works.collect());
        }
        Ok(self.works.get_or_init(HashSet::new))
    }

    /// Returns the record that an instance's key is made of; `known` gives the content of what it reads.
    pub fn parts(&self, id: InstanceId, known: impl Fn(&Artifacts) -> Option<Known>) -> Result<KeyParts, ExecError> {
        let instance = self.plan.instance(id);
        let mut inputs = BTreeMap::new();
        if reads_files(&instance.op) {
            let files = self.source_files(id)?;
            let part = |file: &SourceFile| InputPart { digest: file.digest, name: Some(file.name.clone()) };
            inputs.insert("files".to_owned(), files.iter().map(part).collect());
        }
        // A selection compares metrics and gives all on that it chose, and not only the output that others read by this
        // name: rows can stay as they are while the count of those that were dropped changes.
        let selects = matches!(instance.op, Op::Select(_));
        // A report marks the scores of a model that was chosen, whatever it is called there.
        let scored = |artifact: &Artifacts| {
            let model = self.plan.scored(artifact.from).filter(|_| matches!(instance.op, Op::Report(_)))?;
            known(model).map(|known| format!(" of {}", known.whole))
        };
        for slot in &instance.slots {
            let part = |artifact: &Artifacts| {
                let known = known(artifact).unwrap_or_else(Known::missing);
                let name = slot.gathers.then(|| {
                    let mut name = self.gathered_name(artifact.from, known.chosen.as_ref());
                    name.extend(scored(artifact));
                    // The metric of a selection is no part of the artifact that it gives on.
                    match known.chosen.as_ref().filter(|_| selects) {
                        Some(chosen) => format!("{name} {}", chosen.value),
                        None => name,
                    }
                });
                InputPart { digest: if selects { known.whole } else { known.digest }, name }
            };
            inputs.insert(slot.name.clone(), slot.artifacts.iter().map(part).collect());
        }
        Ok(KeyParts::new(instance, inputs))
    }

    /// What a gathering node writes about an instance: its label and its point of the sweep; of a selection, those of
    /// what it chose.
    fn gathered_name(&self, id: InstanceId, chosen: Option<&Chosen>) -> String {
        let point = |axes: &BTreeMap<String, Value>| {
            axes.iter().map(|(name, value)| format!("{name}={}", sweep::show(value))).collect::<Vec<_>>().join(",")
        };
        match chosen {
            Some(chosen) => format!("{} {} {}", self.plan.label(id), chosen.instance, point(&chosen.axes)),
            None => format!("{} {}", self.plan.label(id), point(&self.plan.instance(id).axes)),
        }
    }

    /// Returns where everything lies that the instances take from outside, as far as it can be found.
    pub fn files_outside(&self) -> Vec<PathBuf> {
        let listed = |instance: &Instance| sources::listed("", &instance.op, &self.folder_of(instance));
        let found = self.plan.instances().iter().filter_map(|instance| listed(instance).ok());
        found.flat_map(BTreeMap::into_values).collect()
    }

    /// Returns the files of a source instance, found and digested once.
    pub fn source_files(&self, id: InstanceId) -> Result<Rc<Vec<SourceFile>>, ExecError> {
        if let Some(files) = self.sources.borrow().get(&id) {
            return Ok(Rc::clone(files));
        }
        let instance = self.plan.instance(id);
        if !reads_files(&instance.op) {
            return Ok(Rc::default());
        }
        let files = match self.remote(id)? {
            Some(remote) => Rc::new(remote.files.clone()),
            None => Rc::new(sources::find(&instance.name, &instance.op, &self.folder_of(instance), self.cache)?),
        };
        self.sources.borrow_mut().insert(id, Rc::clone(&files));
        Ok(files)
    }

    /// Returns what is known of a source that does not lie on this machine; nothing of anything else.
    pub fn remote(&self, id: InstanceId) -> Result<Option<Rc<Remote>>, ExecError> {
        let instance = self.plan.instance(id);
        match &instance.op {
            Op::Source(params) => self.outside.find(&instance.name, params, &self.cache.memo()),
            _ => Ok(None),
        }
    }

    /// Returns the folder that the paths of an instance are relative to.
    pub(super) fn folder_of(&self, instance: &Instance) -> PathBuf {
        // An empty folder would leave a slash at the end.
        if instance.base.as_os_str().is_empty() { self.base.clone() } else { self.base.join(&instance.base) }
    }

    /// Finds and digests the files of all wanted sources. One that is not there is a mistake in the pipeline, and best
    /// said before anything runs.
    pub fn find_sources(&self, wanted: &[bool]) -> Result<(), ExecError> {
        self.plan.ids().filter(|id| wanted[id.index()]).try_for_each(|id| self.source_files(id).map(drop))
    }

    /// As [`Decider::find_sources`], for the sources on this machine: what lies elsewhere is asked for when it is wanted.
    pub fn find_sources_here(&self) -> Result<(), ExecError> {
        let here = |op: &Op| !matches!(op, Op::Source(params) if is_outside(params));
        let mut all = self.plan.ids().filter(|id| here(&self.plan.instance(*id).op));
        all.try_for_each(|id| self.source_files(id).map(drop))
    }

    fn reasons(&self, id: InstanceId, key: &Digest, parts: &KeyParts) -> Result<Vec<StaleReason>, ExecError> {
        let instance = self.plan.instance(id);
        let Some(last) = self.cache.last(&self.scope, &instance.name)? else {
            return Ok(vec![StaleReason::NeverRun]);
        };
        if last.key == *key {
            return Ok(vec![StaleReason::ArtifactMissing]);
        }
        let Some(old) = KeyParts::from_value(&last.parts) else {
            return Ok(vec![StaleReason::NeverRun]);
        };
        let reasons = stale::compare(&old, parts, |slot| self.fills(instance, slot));
        Ok(if reasons.is_empty() { vec![StaleReason::NeverRun] } else { reasons })
    }

    /// Says what fills a slot: `corpus.train`.
    fn fills(&self, instance: &Instance, slot: &str) -> String {
        let Some(Slot { artifacts, .. }) = instance.slots.iter().find(|own| own.name == slot) else {
            return format!("the files of `{}`", instance.name);
        };
        let name = |artifact: &Artifacts| {
            let from = &self.plan.instance(artifact.from).name;
            if artifact.output.name.is_empty() { from.clone() } else { format!("{from}.{}", artifact.output.name) }
        };
        artifacts.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// What is known of something that a node reads.
#[derive(Debug, Clone)]
pub struct Known {
    /// The digest of its content.
    pub digest: Digest,
    /// The digest of the whole artifact that it is a part of.
    pub whole: Digest,
    /// What it chose, if it is a selection.
    pub chosen: Option<Chosen>,
}

impl Known {
    fn missing() -> Self {
        let digest = Digest::of(b"missing");
        Self { digest, whole: digest, chosen: None }
    }
}

/// Says whether a node reads files from outside.
fn reads_files(op: &Op) -> bool {
    match op {
        Op::Source(_) => true,
        Op::Command(params) => !params.files.is_empty(),
        _ => false,
    }
}

/// Returns the digest of one output of an action.
pub(super) fn output_digest(action: &Action, output: &str) -> Option<Digest> {
    action.outputs.get(output).copied().or_else(|| output.is_empty().then_some(action.artifact))
}
