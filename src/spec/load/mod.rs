//! All files of a pipeline, read and put together: what each one includes lies under it or below a name of its own.

mod scope;
mod task_files;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use self::scope::add_level;
use super::combine;
use super::diagnostic::{Diagnostic, Place};
use super::document::Document;
use super::file::{self, FileSpec, Level, LocalNode};
use super::include::{Include, ReadFile, SourceFile};
use super::path::FieldPath;
use super::pipeline::{NodeSpec, Pipeline};

/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// The most files that one pipeline may stand for, those that are included twice counted twice.
const MAX_INCLUDES: usize = 10_000;

/// Reads all files of a pipeline and puts them together.
pub(super) struct Loader<'a> {
    read: ReadFile<'a>,
    profile: Option<&'a str>,
    pub(super) files: Vec<SourceFile>,
    pub(super) documents: Vec<Document>,
    specs: Vec<Option<Rc<FileSpec>>>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The profiles of all files.
    pub(super) profiles: Vec<String>,
    /// Whether some file could not be read.
    pub(super) broken: bool,
    included: usize,
}

/// What a file and those it includes plainly say together.
#[derive(Default)]
struct Ground {
    level: Level,
    profiles: Vec<(String, Level)>,
    nodes: Vec<(usize, LocalNode)>,
    /// The file of each node, by name.
    names: HashMap<String, usize>,
    unreadable: Vec<String>,
    children: Vec<(Include, usize)>,
    seen: Vec<usize>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(read: ReadFile<'a>, profile: Option<&'a str>) -> Self {
        Self {
            read,
            profile,
            files: Vec::new(),
            documents: Vec::new(),
            specs: Vec::new(),
            diagnostics: Vec::new(),
            profiles: Vec::new(),
            broken: false,
            included: 0,
        }
    }

    /// Reads the file that the user named; nothing if it is no pipeline.
    pub(super) fn main(&mut self, main: SourceFile, default_name: &str) -> Option<Pipeline> {
        let file = self.add(main);
        let name = self.specs[file].as_ref()?.name.clone();
        let mut pipeline = Pipeline { name: name.unwrap_or_else(|| default_name.to_owned()), ..Pipeline::default() };
        self.scope(file, "", None, &mut vec![file], &mut pipeline);
        Some(pipeline)
    }

    fn add(&mut self, source: SourceFile) -> usize {
        let file = self.files.len();
        let (document, spec) = match Document::read(&source.text) {
            Ok(document) => {
                let spec = file::read(&document, file, &mut self.diagnostics);
                (document, spec.map(Rc::new))
            }
            Err(diagnostics) => {
                self.diagnostics.extend(diagnostics.into_iter().map(|diagnostic| diagnostic.in_file(file)));
                (Document::default(), None)
            }
        };
        self.files.push(source);
        self.documents.push(document);
        self.specs.push(spec);
        file
    }

    /// Reads the file that an entry names, once.
    fn open(&mut self, from: usize, include: &Include) -> Option<usize> {
        let path = plain(&self.folder(from).join(&include.path));
        let known = self.files.iter().position(|file| file.path == path);
        let file = match known {
            Some(file) => file,
            None => match (self.read)(&path) {
                Ok(text) => self.add(SourceFile { path, text }),
                Err(why) => {
                    self.diagnostics.push(Diagnostic::new(include.place, why));
                    self.broken = true;
                    return None;
                }
            },
        };
        self.broken |= self.specs[file].is_none();
        self.specs[file].is_some().then_some(file)
    }

    fn folder(&self, file: usize) -> PathBuf {
        self.files[file].path.parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }

    /// Says whether one more file may be included here.
    fn may(&mut self, file: usize, include: &Include, chain: &[usize]) -> bool {
        self.included += 1;
        let message = if chain.contains(&file) {
            let name = |file: &usize| self.files[*file].path.display().to_string();
            let names: Vec<String> = chain.iter().chain([&file]).map(name).collect();
            format!("the files include each other in a circle: {}", names.join(" -> "))
        } else if chain.len() > MAX_DEPTH {
            format!("more than {MAX_DEPTH} files include each other")
        } else if self.included > MAX_INCLUDES {
            format!("more than {MAX_INCLUDES} files are included")
        } else {
            return true;
        };
        self.diagnostics.push(Diagnostic::new(include.place, message));
        self.broken = true;
        false
    }

    /// Lays what a file includes plainly under it.
    fn ground(&mut self, file: usize, chain: &mut Vec<usize>, ground: &mut Ground) {
        let Some(spec) = self.specs[file].clone() else { return };
        ground.seen.push(file);
        for include in &spec.includes {
            let Some(other) = self.open(file, include) else { continue };
            if !self.may(other, include, chain) {
                continue;
            }
            if include.alias.is_some() {
                ground.children.push((include.clone(), other));
            } else if !ground.seen.contains(&other) {
                chain.push(other);
                self.ground(other, chain, ground);
                chain.pop();
            }
        }
        ground.level.cover(&spec.level);
        combine::check(&ground.level, &spec.level, &mut self.diagnostics);
        for (name, level) in &spec.profiles {
            match ground.profiles.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => known.cover(level),
                None => ground.profiles.push((name.clone(), level.clone())),
            }
        }
        for node in &spec.nodes {
            self.add_node(file, node, ground);
        }
        ground.unreadable.extend(spec.unreadable.iter().cloned());
    }

    fn add_node(&mut self, file: usize, node: &LocalNode, ground: &mut Ground) {
        if let Some(other) = ground.names.insert(node.name.clone(), file) {
            let span = self.documents[file].key_span(&FieldPath::root().key("nodes").key(&node.name));
            let message = format!("{} has a node `{}` too", self.files[other].path.display(), node.name);
            let help = "give it another name, or include that file under a name: `{file: …, as: …}`";
            self.diagnostics.push(Diagnostic::new(Place::new(file, span), message).help(help));
            return;
        }
        ground.nodes.push((file, node.clone()));
    }

    /// Adds a file, and what it includes, under a prefix. `given` is what includes it and the prefix there.
    fn scope(
        &mut self,
        file: usize,
        prefix: &str,
        given: Option<(&Include, &str)>,
        chain: &mut Vec<usize>,
        out: &mut Pipeline,
    ) {
        let mut ground = Ground::default();
        self.ground(file, chain, &mut ground);
        for (name, profile) in &ground.profiles {
            ground.level.check_profile(profile, &mut self.diagnostics);
            self.profiles.push(name.clone());
        }
        let mut level = ground.level;
        if let Some((_, profile)) = ground.profiles.iter().find(|(name, _)| Some(name.as_str()) == self.profile) {
            level.cover(profile);
            combine::check(&level, profile, &mut self.diagnostics);
        }
        if let Some((include, outer)) = given {
            self.give(include, outer, prefix, &mut level, out);
        }
        for spec in ground.seen.iter().filter_map(|file| self.specs[*file].as_ref()) {
            out.environment.declared.extend(spec.env.iter().cloned());
        }
        for (file, mut node) in ground.nodes {
            let task_files = self.tasks(file, &mut node);
            out.nodes.push(NodeSpec {
                name: format!("{prefix}{}", node.name),
                prefix: prefix.to_owned(),
                file,
                base: self.folder(file),
                kind: node.kind,
                fields: node.fields,
                execution: node.execution,
                task_files,
            });
        }
        out.unreadable.extend(ground.unreadable.iter().map(|name| format!("{prefix}{name}")));
        add_level(level, prefix, out);
        for (include, file) in &ground.children {
            let below = format!("{prefix}{}/", include.alias.as_deref().unwrap_or_default());
            chain.push(*file);
            self.scope(*file, &below, Some((include, prefix)), chain, out);
            chain.pop();
        }
    }
}

/// Returns a path without `.` and, where that is safe to say without looking, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
