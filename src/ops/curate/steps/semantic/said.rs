//! What of a row the model reads: what it says, or what a template makes of its columns.

use rayon::prelude::*;

use crate::data::TextTemplate;
use crate::ops::OpError;
use crate::ops::curate::item::Item;
use crate::ops::curate::steps::near::compared;
use crate::ops::curate::steps::{View, failed};
use crate::spec::params::{DedupSemantic, DuplicateKey};

pub(super) enum Said {
    Key(DuplicateKey),
    Template(String, Box<TextTemplate>),
}

impl Said {
    pub(super) fn new(settings: &DedupSemantic) -> Result<Self, OpError> {
        let Some(source) = &settings.template else { return Ok(Self::Key(settings.key)) };
        let read = TextTemplate::new(source);
        let template = read.map_err(|why| OpError::new(format!("`template: {source}` cannot be read: {why}")))?;
        Ok(Self::Template(source.clone(), Box::new(template)))
    }

    /// Whether an item must be a row to be read, and not columns alone.
    pub(super) fn of_rows(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// Returns what the model reads of an item; `entries` are the names in `from`.
    pub(super) fn of(&self, item: &Item, entries: &[String]) -> Result<String, OpError> {
        match self {
            Self::Key(key) => Ok(compared(item.row(), *key).into_owned()),
            Self::Template(source, template) => {
                template.render(&View { item, entries }).map_err(|why| failed(source, item, &why))
            }
        }
    }

    /// Returns what it reads of each item; of several failures the first one, whatever the threads do.
    pub(super) fn of_all(&self, items: &[Item], entries: &[String]) -> Result<Vec<String>, OpError> {
        let all: Vec<Result<String, OpError>> = items.par_iter().map(|item| self.of(item, entries)).collect();
        all.into_iter().collect()
    }
}
