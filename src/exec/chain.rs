//! An artifact's whole history: the actions that made it, up to the sources.
//!
//! Found by key in the records. An artifact in between may have been collected; what made it is still known.

use super::ExecError;
use super::decide::{Decider, output_digest};
use crate::cache::Action;
use crate::digest::Digest;
use crate::plan::graph::{Artifacts, InstanceId};

/// The actions that made one instance's artifact.
pub struct Chain {
    /// The instance, and all it was made from, in graph order; so the instance comes last.
    pub links: Vec<Link>,
}

/// One action of a chain.
pub struct Link {
    /// The instance.
    pub id: InstanceId,
    /// What it did.
    pub action: Action,
    /// What it read.
    pub inputs: Vec<Used>,
}

/// Something that an action read.
pub struct Used {
    /// The slot: `model`, `data[0]`; for a source, `files`.
    pub slot: String,
    /// What it is called: an instance, one output of it, or a file of a source.
    pub name: String,
    /// Its content.
    pub digest: Digest,
    /// The artifact it is, or is a part of; none for a file of a source.
    pub artifact: Option<Digest>,
}

impl Chain {
    /// Returns the last link: the instance that the chain is of.
    pub fn last(&self) -> Option<&Link> {
        self.links.last()
    }
}

/// Returns the history of an instance, or the names of the instances that have to run first.
pub fn of(decider: &Decider<'_>, id: InstanceId) -> Result<Result<Chain, Vec<String>>, ExecError> {
    let plan = decider.plan;
    let wanted = plan.with_ancestors(&[id]);
    let mut done: Vec<Option<Action>> = vec![None; plan.instances().len()];
    let (mut links, mut missing) = (Vec::new(), Vec::new());
    for at in plan.order().iter().copied().filter(|id| wanted[id.index()]) {
        let parts = decider.parts_of(at, &done)?;
        let known = plan.upstream(at).all(|upstream| done[upstream.index()].is_some());
        match decider.cache.on_record(&parts.key())?.filter(|_| known) {
            Some(action) => {
                done[at.index()] = Some(action.clone());
                links.push(Link { id: at, action, inputs: used(decider, at, &done)? });
            }
            None => missing.push(plan.instance(at).name.clone()),
        }
    }
    Ok(if missing.is_empty() { Ok(Chain { links }) } else { Err(missing) })
}

fn used(decider: &Decider<'_>, id: InstanceId, done: &[Option<Action>]) -> Result<Vec<Used>, ExecError> {
    let mut inputs = Vec::new();
    for file in decider.source_files(id)?.iter() {
        inputs.push(Used { slot: "files".into(), name: file.name.clone(), digest: file.digest, artifact: None });
    }
    let plan = decider.plan;
    for slot in &plan.instance(id).slots {
        let read = |from: &Artifacts| {
            let action = done[from.from.index()].as_ref()?;
            let (node, output) = (&plan.instance(from.from).name, &from.output.name);
            let name = if output.is_empty() { node.clone() } else { format!("{node}.{output}") };
            let digest = output_digest(action, output)?;
            Some(Used { slot: slot.name.clone(), name, digest, artifact: Some(action.artifact) })
        };
        inputs.extend(slot.artifacts.iter().filter_map(read));
    }
    Ok(inputs)
}
