//! What nodes offer to those that read them. A `select` offers what it chooses from, and must be able to choose.

use std::collections::{BTreeSet, HashMap};

use super::graph::{Instance, InstanceId};
use super::resolve::{Draft, Resolver};
use crate::spec::bind::Bound;
use crate::spec::diagnostic::{Diagnostic, Place};
use crate::spec::params::{Input, InputType, Kind, Op, Output};
use crate::spec::pipeline::NodeSpec;

impl<'a> Resolver<'a> {
    /// Checks that an output is what an input expects.
    pub(super) fn fits(
        &self,
        node: &NodeSpec,
        from: Kind,
        input: &Input<'_>,
        output: &Output,
    ) -> Result<(), Diagnostic> {
        // Beside score tables, a report takes a choice among what they are about.
        let chosen = node.kind == Kind::Report && from == Kind::Select && input.expects == InputType::Scores;
        if output.kind == input.expects || input.expects == InputType::Any || chosen {
            return Ok(());
        }
        let message = format!("`{}` is a {}, and a {} is needed here", input.from, output.kind, input.expects);
        Err(Diagnostic::new(self.pipeline.field_span(node, &input.slot), message))
    }

    /// Returns the output of an instance that an input names.
    pub(super) fn output(&self, node: &NodeSpec, from: InstanceId, input: &Input<'_>) -> Result<Output, Diagnostic> {
        if node.kind == Kind::Select {
            return Ok(Output { name: "".into(), path: "".into(), kind: InputType::Any });
        }
        let place = || self.pipeline.field_span(node, &input.slot);
        let mut found: Option<Output> = None;
        for source in self.sources(from) {
            let output = find_output(&source.op.outputs(), input, place)?;
            self.fits(node, self.instances[from.index()].kind(), input, &output)?;
            if found.as_ref().is_some_and(|found| *found != output) {
                let message = format!("the instances of `{}` do not all give the same `{}`", source.node, input.from);
                return Err(Diagnostic::new(place(), message));
            }
            found = Some(output);
        }
        found.ok_or_else(|| Diagnostic::new(place(), format!("nothing gives `{}` here", input.from)))
    }

    /// Returns the instances whose outputs an instance has: its own, or those that a select chooses from.
    fn sources(&self, id: InstanceId) -> Vec<&Instance> {
        let instance = &self.instances[id.index()];
        match instance.slots.iter().find(|slot| instance.kind() == Kind::Select && slot.name == "from") {
            None => vec![instance],
            Some(slot) => slot.artifacts.iter().flat_map(|artifact| self.sources(artifact.from)).collect(),
        }
    }

    /// Checks that each instance that a select may choose has one value of every metric, and that a search can steer it.
    pub(super) fn check_select(&self, draft: &Draft<'a>) -> Result<(), Diagnostic> {
        let node = draft.node;
        let axes_of = |name: &str| self.axes_of.get(node.whole_name(name).as_str());
        for op in draft.ops() {
            let Op::Select(params) = op else { continue };
            let from = params.from.node();
            let Some(own) = axes_of(from) else { continue };
            for score in params.by.nodes() {
                let Some(axis) = axes_of(score.node()).and_then(|axes| axes.difference(own).next()) else { continue };
                let message =
                    format!("`{score}` has several instances for each of `{from}`: it also depends on `{axis}`");
                let help = format!("select from a node that `{axis}` reaches too, or do not sweep it");
                return Err(Diagnostic::new(self.pipeline.field_span(node, "by"), message).help(help));
            }
            let search = self.pipeline.searches.iter().find(|(name, _)| *name == node.name);
            if let Some((_, search)) = search.filter(|(_, search)| !own.contains(search.parameter.as_str())) {
                let message = format!("`{from}` does not depend on the parameter `{}`", search.parameter);
                let place = self.pipeline.field_span(node, "search.parameter");
                return Err(Diagnostic::new(place, message).help("write `${…}` where its value belongs"));
            }
        }
        Ok(())
    }
}

/// Returns what a node offers, at every point it was bound at. A select offers what it selects from.
pub(super) fn outputs_of<'d>(
    draft: &'d Draft<'_>,
    by_name: &HashMap<&str, &'d Draft<'_>>,
) -> Vec<(&'d Bound, Vec<Output>)> {
    let mut outputs = Vec::new();
    let mut at = vec![draft];
    let mut seen = BTreeSet::new();
    while let Some(draft) = at.pop().filter(|draft| seen.insert(draft.node.name.as_str())) {
        for bound in draft.bound.values() {
            match &bound.op {
                None => {}
                Some(Op::Select(params)) => {
                    at.extend(by_name.get(draft.node.whole_name(params.from.node()).as_str()).copied());
                }
                Some(op) => outputs.push((bound, op.outputs())),
            }
        }
    }
    outputs
}

/// Finds the output that an input names.
pub(super) fn find_output(
    outputs: &[Output],
    input: &Input<'_>,
    place: impl Fn() -> Place,
) -> Result<Output, Diagnostic> {
    let wanted = input.from.output();
    let names = || outputs.iter().map(|output| &*output.name).filter(|name| !name.is_empty());
    outputs.iter().find(|output| output.name == wanted).cloned().ok_or_else(|| {
        let node = input.from.node();
        let listed: Vec<String> = names().map(|name| format!("`{node}.{name}`")).collect();
        let help = (!listed.is_empty()).then(|| format!("there is {}", listed.join(" and ")));
        let message = if wanted.is_empty() {
            format!("`{node}` has several outputs: say which one is meant")
        } else {
            format!("`{node}` has no output `{wanted}`")
        };
        Diagnostic::new(place(), message).maybe_help(help)
    })
}
