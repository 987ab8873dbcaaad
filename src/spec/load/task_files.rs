//! Task files that evals name by their paths.

use std::path::PathBuf;

use super::{Loader, plain};
use crate::spec::diagnostic::{Diagnostic, Place};
use crate::spec::document::Document;
use crate::spec::file::LocalNode;
use crate::spec::include::SourceFile;
use crate::spec::params::Kind;
use crate::spec::path::FieldPath;
use crate::spec::tasks;

impl Loader<'_> {
    /// Puts the task files that an eval names in the place of their paths; returns which task is in which file.
    pub(super) fn tasks(&mut self, from: usize, node: &mut LocalNode) -> Vec<(usize, usize)> {
        let mut files = Vec::new();
        if node.kind != Kind::Eval {
            return files;
        }
        for (i, path) in tasks::paths(&node.fields) {
            let at = FieldPath::root().key("nodes").key(&node.name).key("tasks").index(i);
            let place = Place::new(from, self.documents[from].value_span(&at));
            let path = plain(&self.folder(from).join(path));
            let known = self.files.iter().position(|file| file.path == path);
            let file = match known.map_or_else(|| (self.read)(&path).map(|text| self.add_task(path, text)), Ok) {
                Ok(file) => file,
                Err(why) => {
                    self.diagnostics.push(Diagnostic::new(place, why));
                    self.broken = true;
                    continue;
                }
            };
            tasks::put(&mut node.fields, i, &self.documents[file].value);
            files.push((i, file));
        }
        files
    }

    fn add_task(&mut self, path: PathBuf, text: String) -> usize {
        let file = self.files.len();
        let (document, wrong) = match Document::read(&text) {
            Ok(document) => {
                let wrong = tasks::mistakes_of_file(&document);
                (document, wrong)
            }
            Err(wrong) => (Document::default(), wrong),
        };
        self.broken |= !wrong.is_empty();
        self.diagnostics.extend(wrong.into_iter().map(|wrong| wrong.in_file(file)));
        self.files.push(SourceFile { path, text });
        self.documents.push(document);
        self.specs.push(None);
        file
    }
}
