//! Fresh or stale: a node instance, the contents of its inputs, and the cache.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::ExecError;
use super::sources::{self, SourceFile};
use crate::cache::{Action, Cache};
use crate::digest::Digest;
use crate::plan::graph::{Artifacts, Instance, InstanceId, Plan, Slot};
use crate::plan::{InputPart, KeyParts, StaleReason, stale};
use crate::spec::params::{Kind, Op};
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
    sources: RefCell<HashMap<InstanceId, Rc<Vec<SourceFile>>>>,
}

/// Whether a node instance has to run.
#[derive(Debug)]
pub enum Decision {
    /// The cache holds its result.
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
    /// The cache holds its result.
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
        Self { plan, cache, base, scope: absolute.display().to_string(), sources: RefCell::default() }
    }

    /// Decides about an instance whose inputs are all there: `done` holds their actions.
    pub fn decide(&self, id: InstanceId, done: &[Option<Action>]) -> Result<Decision, ExecError> {
        let parts = self.parts_of(id, done)?;
        let key = parts.key();
        if let Some(action) = self.cache.action(&key)? {
            return Ok(Decision::Fresh(Box::new(action)));
        }
        let reasons = self.reasons(id, &key, &parts)?;
        Ok(Decision::Stale { key, parts: Box::new(parts), reasons })
    }

    /// Returns the record of the key of an instance whose inputs are all there.
    pub fn parts_of(&self, id: InstanceId, done: &[Option<Action>]) -> Result<KeyParts, ExecError> {
        self.parts(id, |artifact| {
            done[artifact.from.index()].as_ref().and_then(|action| output_digest(action, &artifact.output.name))
        })
    }

    /// Decides about every instance as far as that can be known without running anything.
    pub fn preview(&self, wanted: &[bool]) -> Result<Vec<Option<NodeState>>, ExecError> {
        let mut done: Vec<Option<Action>> = vec![None; self.plan.instances().len()];
        let mut states: Vec<Option<NodeState>> = Vec::new();
        states.resize_with(done.len(), || None);
        for id in self.plan.order().iter().copied().filter(|id| wanted[id.index()]) {
            let mut on: Vec<InstanceId> =
                self.plan.upstream(id).filter(|upstream| done[upstream.index()].is_none()).collect();
            on.sort_unstable();
            let state = if on.is_empty() {
                match self.decide(id, &done)? {
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

    /// An instance that waits: its settings can already tell that it will run whatever its inputs give.
    fn pending(&self, id: InstanceId, on: &[InstanceId]) -> Result<NodeState, ExecError> {
        let instance = self.plan.instance(id);
        let names = on.iter().map(|id| self.plan.instance(*id).name.clone()).collect();
        let mut reasons = vec![StaleReason::Waiting { on: names }];
        if let Some(last) = self.cache.last(&self.scope, &instance.name)?
            && let Some(old) = KeyParts::from_value(&last.parts)
        {
            let same_inputs = KeyParts::new(instance, old.inputs.clone());
            let mut changed = stale::compare(&old, &same_inputs, |_| String::new());
            if !changed.is_empty() {
                changed.append(&mut reasons);
                return Ok(NodeState::Stale(changed));
            }
            return Ok(NodeState::Pending(reasons));
        }
        reasons.insert(0, StaleReason::NeverRun);
        Ok(NodeState::Stale(reasons))
    }

    /// Returns the record that an instance's key is made of; `digest_of` gives the content of what it reads.
    pub fn parts(
        &self,
        id: InstanceId,
        digest_of: impl Fn(&Artifacts) -> Option<Digest>,
    ) -> Result<KeyParts, ExecError> {
        let instance = self.plan.instance(id);
        if instance.kind() == Kind::Source {
            let files = self.source_files(id)?;
            let part = |file: &SourceFile| InputPart { digest: file.digest, name: Some(file.name.clone()) };
            let inputs = BTreeMap::from([("files".to_owned(), files.iter().map(part).collect())]);
            return Ok(KeyParts::new(instance, inputs));
        }
        let missing = Digest::of(b"missing");
        let mut inputs = BTreeMap::new();
        for slot in &instance.slots {
            let part = |artifact: &Artifacts| InputPart {
                digest: digest_of(artifact).unwrap_or(missing),
                name: slot.gathers.then(|| self.gathered_name(artifact.from)),
            };
            inputs.insert(slot.name.clone(), slot.artifacts.iter().map(part).collect());
        }
        Ok(KeyParts::new(instance, inputs))
    }

    /// What a gathering node writes about an instance: its label and its point of the sweep.
    fn gathered_name(&self, id: InstanceId) -> String {
        let point = |axes: &BTreeMap<String, Value>| {
            axes.iter().map(|(name, value)| format!("{name}={}", sweep::show(value))).collect::<Vec<_>>().join(",")
        };
        format!("{} {}", self.plan.label(id), point(&self.plan.instance(id).axes))
    }

    /// Returns the files of a source instance, found and digested once.
    pub fn source_files(&self, id: InstanceId) -> Result<Rc<Vec<SourceFile>>, ExecError> {
        if let Some(files) = self.sources.borrow().get(&id) {
            return Ok(Rc::clone(files));
        }
        let instance = self.plan.instance(id);
        let files = match &instance.op {
            Op::Source(params) => sources::find(&instance.name, params, &self.base, self.cache)?,
            _ => Vec::new(),
        };
        let files = Rc::new(files);
        self.sources.borrow_mut().insert(id, Rc::clone(&files));
        Ok(files)
    }

    /// Finds and digests the files of all wanted sources. One that is not there is a mistake in the pipeline, and best
    /// said before anything runs.
    pub fn find_sources(&self, wanted: &[bool]) -> Result<(), ExecError> {
        self.plan.ids().filter(|id| wanted[id.index()]).try_for_each(|id| self.source_files(id).map(drop))
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

/// Returns the digest of one output of an action.
pub(super) fn output_digest(action: &Action, output: &str) -> Option<Digest> {
    action.outputs.get(output).copied().or_else(|| output.is_empty().then_some(action.artifact))
}
