//! The index against the record files: do they say the same?
//!
//! Every lookup already passes over a row whose record is not whole, so a difference here never gives a wrong answer. It
//! tells that the disk is failing or that somebody else writes here, which a person who verifies wants to know.

use std::collections::BTreeMap;

use super::{Action, Cache, CacheError};
use crate::digest::Digest;

impl Cache {
    /// Returns the action on record under a key, whether or not its artifact is there.
    pub fn on_record(&self, key: &Digest) -> Result<Option<Action>, CacheError> {
        self.recorded(key)
    }

    /// Returns every way in which the index and the record files differ, or either is damaged, one sentence each.
    pub fn audit(&self) -> Result<Vec<String>, CacheError> {
        let (actions, strangers) = self.scan_records()?;
        let mut problems: Vec<String> =
            strangers.iter().map(|path| format!("{} is no record, or a damaged one", path.display())).collect();
        if !self.layout.index().exists() {
            return Ok(problems);
        }
        let Some((rows, found)) = self.with_index(|index| index.audit()) else {
            problems.push("the index cannot be read; `luthflow cache repair` makes it anew".to_owned());
            return Ok(problems);
        };
        problems.extend(found.into_iter().map(|problem| format!("the index is damaged: {problem}")));
        let mut files: BTreeMap<Digest, &Action> = actions.iter().map(|action| (action.key, action)).collect();
        for (key, artifact, text) in &rows {
            let row = Action::from_record(text.as_bytes(), key).filter(|row| row.artifact == *artifact);
            match (row, files.remove(key)) {
                (None, _) => {
                    problems.push(format!("the row of {} in the index is damaged", key.short()));
                }
                (Some(_), None) => {
                    problems.push(format!("the index knows {}, and there is no record of it", key.short()));
                }
                (Some(row), Some(file)) if row.to_record().ok() != file.to_record().ok() => {
                    problems.push(format!("the index and the record of {} differ", key.short()));
                }
                _ => {}
            }
        }
        problems.extend(files.keys().map(|key| format!("the index does not know the record of {}", key.short())));
        Ok(problems)
    }
}
