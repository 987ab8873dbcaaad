//! A pipeline as it was written: names, parameters, axes and nodes, with `${…}` still in place.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;

use super::document::Document;
use super::execution::Execution;
use super::params::Kind;
use super::path::FieldPath;
use super::substitute::Bindings;

/// A pipeline as it was written.
#[derive(Debug)]
pub struct Pipeline {
    /// The name in lockfiles and reports.
    pub name: String,
    /// The parameters that have one value.
    pub params: Bindings,
    /// The parameters that have several, in the order the file or the command line names them.
    pub axes: Vec<Axis>,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeSpec>,
    /// The names of nodes that could not be read at all, so that they are not missed a second time.
    pub unreadable: Vec<String>,
    /// The parameters whose values could not be read, likewise.
    pub unreadable_params: Vec<String>,
    pub(super) document: Document,
    /// The places of the nodes by name, made when first asked for.
    pub(super) places: OnceLock<HashMap<String, usize>>,
}

/// A parameter with several values.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The parameter.
    pub name: String,
    /// Its values, in order, none twice.
    pub values: Vec<Value>,
}

/// A node as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Everything below it but `kind` and how it is to be run.
    pub fields: Value,
    /// How it is to be run.
    pub execution: Execution,
}

impl NodeSpec {
    /// Returns the place of the node in the file.
    pub fn path(&self) -> FieldPath {
        FieldPath::root().key("nodes").key(&self.name)
    }
}

impl Pipeline {
    /// Returns where the name of a node stands.
    pub fn node_span(&self, node: &NodeSpec) -> Range<usize> {
        self.document.key_span(&node.path())
    }

    /// Returns where the value of a field of a node stands; `field` is a path such as `tasks[0].minimal_pairs.data`.
    pub fn field_span(&self, node: &NodeSpec, field: &str) -> Range<usize> {
        self.document.value_span(&node.path().join(&FieldPath::parse(field)))
    }

    /// Returns where the name of an axis stands; nowhere if the command line made it.
    pub fn axis_span(&self, name: &str) -> Range<usize> {
        self.document.exact_key_span(&FieldPath::root().key("sweep").key(name)).unwrap_or(0..0)
    }

    /// Returns the node with this name.
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        let place = |(place, node): (usize, &NodeSpec)| (node.name.clone(), place);
        let places = self.places.get_or_init(|| self.nodes.iter().enumerate().map(place).collect());
        places.get(name).map(|place| &self.nodes[*place])
    }

    /// Returns the parameters at one point of the sweep: `point` on top of those with one value.
    pub fn bindings(&self, point: &Bindings) -> Bindings {
        let mut bindings = self.params.clone();
        bindings.extend(point.iter().map(|(name, value)| (name.clone(), value.clone())));
        bindings
    }
}
