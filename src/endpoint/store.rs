//! Answers by what was asked, in one SQLite file.
//!
//! What lies here was paid for, so it is on the disk before anybody builds on it: each answer is a transaction, with the
//! plain journal, which any file system and any number of processes can share. Only answers that are some are kept, never
//! an error. A file that is damaged is neither mended nor replaced: its owner decides.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{EndpointError, Reply};
use crate::digest::Digest;

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_mins(2);
/// The version of the table.
const VERSION: i64 = 1;

/// Answers that came before.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store at `path`, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, EndpointError> {
        Self::begin(path, Connection::open(path))
    }

    /// Returns a store that forgets everything with its process.
    pub fn passing() -> Result<Self, EndpointError> {
        Self::begin(Path::new(":memory:"), Connection::open_in_memory())
    }

    fn begin(path: &Path, opened: rusqlite::Result<Connection>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Store { path: path.to_owned(), source };
        let mut connection = opened.map_err(failed)?;
        let version = prepare(&mut connection).map_err(failed)?;
        if version > VERSION {
            return Err(EndpointError::Newer { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Returns the answer to a request, if there was one.
    pub fn get(&self, key: &Digest) -> Result<Option<Reply>, EndpointError> {
        let connection = self.lock();
        let found = connection
            .prepare_cached("SELECT reply FROM answers WHERE key = ?1")
            .and_then(|mut select| {
                select.query_row([key.as_bytes().as_slice()], |row| row.get::<_, String>(0)).optional()
            })
            .map_err(|source| self.failed(source))?;
        // What cannot be read any more is asked for again, and replaced.
        Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps an answer. When this returns it is on the disk.
    pub fn put(&self, key: &Digest, reply: &Reply) -> Result<(), EndpointError> {
        let text = serde_json::to_string(reply).unwrap_or_default();
        let connection = self.lock();
        connection
            .prepare_cached("INSERT OR REPLACE INTO answers (key, reply) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![key.as_bytes().as_slice(), text]))
            .map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Keeps several answers, all of them or none. When this returns they are on the disk.
    pub fn put_all(&self, answers: &[(Digest, Reply)]) -> Result<(), EndpointError> {
        let mut connection = self.lock();
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert =
                    transaction.prepare_cached("INSERT OR REPLACE INTO answers (key, reply) VALUES (?1, ?2)")?;
                for (key, reply) in answers {
                    let text = serde_json::to_string(reply).unwrap_or_default();
                    insert.execute(params![key.as_bytes().as_slice(), text])?;
                }
            }
            transaction.commit()
        };
        write(&mut connection).map_err(|source| self.failed(source))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> EndpointError {
        EndpointError::Store { path: self.path.clone(), source }
    }
}

/// Makes the table if there is none, and returns the version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Two processes may be the first at once.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute("CREATE TABLE answers (key BLOB PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID", [])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(version.max(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stay_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.sqlite");
        let key = |text: &str| Digest::of(text.as_bytes());
        let reply = |text: &str| Reply {
            text: text.into(),
            finish_reason: "stop".into(),
            prompt_tokens: 1,
            completion_tokens: 2,
        };
        let (one, two) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        assert_eq!(one.get(&key("a")).unwrap(), None);
        one.put(&key("a"), &reply("é")).unwrap();
        two.put(&key("b"), &reply("b")).unwrap();
        two.put(&key("a"), &reply("ç")).unwrap();
        assert_eq!(one.get(&key("a")).unwrap(), Some(reply("ç")));
        assert_eq!(one.get(&key("b")).unwrap(), Some(reply("b")));
        drop((one, two));
        fs_err::write(&path, [b'x'; 5000]).unwrap();
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("answers.sqlite cannot be used"), "{error}");
    }
}
