//! A pipeline as it was written: names, parameters, axes and nodes, with `${…}` still in place.
//!
//! It may be written in several files. What was included under a name has that name in front of all its own: the node
//! `qwen/sft`, the parameter `qwen/lr`. Inside its file it is still `sft` and `lr`, so a node knows its file and prefix.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use super::diagnostic::Place;
use super::document::Document;
use super::env::Environment;
use super::params::{Kind, Mistake, Op, Search};
use super::path::FieldPath;
use super::substitute::Bindings;

/// A pipeline as it was written.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// The name in lockfiles and reports.
    pub name: String,
    /// The parameters that have one value.
    pub params: Bindings,
    /// The parameters that have several, in the order the file or the command line names them.
    pub axes: Vec<Axis>,
    /// Axes that move together: all of one entry have their values at the same place of their lists.
    pub zips: Vec<Zip>,
    /// Combinations that are left out.
    pub excludes: Vec<Exclude>,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeSpec>,
    /// The searches that are on, each with the name of its `select` node and the whole name of its parameter.
    pub searches: Vec<(String, Search)>,
    /// The names of nodes that could not be read at all, so that they are not missed a second time.
    pub unreadable: Vec<String>,
    /// The parameters whose values could not be read, likewise.
    pub unreadable_params: Vec<String>,
    /// The variables of the environment that `${env:…}` may stand for.
    pub environment: Environment,
    /// What else is looked for in the settings of a node: what only those know who run it. Nothing while it is not set.
    pub further: Option<fn(&Op) -> Vec<Mistake>>,
    /// Parameters whose value holds a `${…}` itself, and where the names in it are looked up.
    pub(super) given: BTreeMap<String, Scope>,
    /// Where the names of parameters stand.
    pub(super) places: BTreeMap<String, Place>,
    pub(super) documents: Vec<Document>,
    /// The places of the nodes by name, made when first asked for.
    pub(super) by_name: OnceLock<HashMap<String, usize>>,
}

/// Where the names in a parameter's own value are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// It may name variables of the environment, and no parameters.
    Environment,
    /// Among the parameters with this prefix: those of the file that gives the value.
    Prefix(String),
}

/// A parameter with several values.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The parameter.
    pub name: String,
    /// Its values, in order. None stands twice, unless the axis is zipped with another.
    pub values: Vec<Value>,
    /// Where its name stands; nowhere if the command line made it.
    pub place: Place,
}

/// Axes that move together.
#[derive(Debug, Clone, PartialEq)]
pub struct Zip {
    /// Their names.
    pub names: Vec<String>,
    /// Where that is written.
    pub place: Place,
}

/// Combinations that are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Exclude {
    /// Every point with all of these values is left out.
    pub at: Vec<(String, Value)>,
    /// Where that is written.
    pub place: Place,
    /// Whether it is a mistake if it leaves out nothing. Not when the command line changed one of its axes.
    pub strict: bool,
}

/// A node as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its whole name.
    pub name: String,
    /// The names it was included under, each with a `/` behind it; empty in the file that the user named.
    pub prefix: String,
    /// The file it is written in.
    pub file: usize,
    /// The folder of that file, relative to that of the file that the user named.
    pub base: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// Everything below it but `kind` and how it is to be run.
    pub fields: Value,
    /// How it is to be run: `needs`, `retries`, `timeout`.
    pub execution: Value,
    /// The tasks of an eval that came from files of their own: the place of each in its list, and its file.
    pub(super) task_files: Vec<(usize, usize)>,
}

impl NodeSpec {
    /// Returns its name as its own file has it.
    pub fn local_name(&self) -> &str {
        self.name.strip_prefix(&self.prefix).unwrap_or(&self.name)
    }

    /// Returns the place of the node in its file.
    pub fn path(&self) -> FieldPath {
        FieldPath::root().key("nodes").key(self.local_name())
    }

    /// Returns the whole name of a node that this one calls `name`.
    pub fn whole_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Pipeline {
    /// Returns where the name of a node stands.
    pub fn node_span(&self, node: &NodeSpec) -> Place {
        Place::new(node.file, self.document(node).key_span(&node.path()))
    }

    /// Returns where the value of a field of a node stands; `field` is a path such as `tasks[0].minimal_pairs.data`.
    pub fn field_span(&self, node: &NodeSpec, field: &str) -> Place {
        Place::new(node.file, self.document(node).value_span(&node.path().join(&FieldPath::parse(field))))
    }

    /// Returns the file that a node is written in.
    pub(super) fn document(&self, node: &NodeSpec) -> &Document {
        &self.documents[node.file]
    }

    /// Returns the node with this name.
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        let place = |(place, node): (usize, &NodeSpec)| (node.name.clone(), place);
        let places = self.by_name.get_or_init(|| self.nodes.iter().enumerate().map(place).collect());
        places.get(name).map(|place| &self.nodes[*place])
    }

    /// Returns the axis with this name.
    pub fn axis(&self, name: &str) -> Option<&Axis> {
        self.axes.iter().find(|axis| axis.name == name)
    }

    /// Returns the parameters at one point of the sweep: `point` on top of those with one value.
    pub fn bindings(&self, point: &Bindings) -> Bindings {
        let mut bindings = self.params.clone();
        bindings.extend(point.iter().map(|(name, value)| (name.clone(), value.clone())));
        bindings
    }
}
