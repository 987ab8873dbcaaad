//! The SQLite index: looks up quickly what the record files say, and keeps two things that are only conveniences (the
//! last key of every instance, and the digests of unchanged files).
//!
//! Every method returns SQLite's own error; [`super::store`] decides what it means. Numbers are stored as SQLite's signed
//! 64 bits with the same bit pattern. Statements are prepared once and kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::platform::{self, Stamp};
use super::schema::{KNOWN, migrate, version};
use super::stat::Seen;
use crate::digest::Digest;

/// How long to wait for another process's transaction. Ours take milliseconds; a network disk may take long.
const BUSY: Duration = Duration::from_secs(30);

/// How many digests of files gather before they are written in one transaction.
const BATCH: usize = 512;

/// A row of `actions`: key, artifact, text of the record.
pub(super) type ActionRow = (Digest, Digest, String);

/// The open index.
#[derive(Debug)]
pub(super) struct Index {
    connection: Connection,
    /// Digests of files not yet written.
    pending: BTreeMap<Vec<u8>, Seen>,
    writable: bool,
    /// Which file it is, to tell when another process moved it aside.
    place: Option<(u64, u64)>,
}

/// Why an index cannot be opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// A later luthflow wrote it: its format, and the newest that is known here.
    Newer(i64, i64),
    /// An earlier luthflow wrote it, or it is just being made, and reading must not change it.
    Older,
    /// SQLite cannot use it.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Says whether the error means that the file is not, or no longer, the database that we wrote.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        // `Unknown` is SQLite's answer to a statement that does not fit the schema. Ours are fixed, so the schema is off.
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        }
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

impl Index {
    /// Opens the index to write, creates it if there is none, and says whether it was created.
    pub(super) fn open_to_write(path: &Path, shared: bool) -> Result<(Self, bool), Refused> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        let version = version(&connection)?;
        if version > KNOWN {
            return Err(Refused::Newer(version, KNOWN));
        }
        let wanted = if shared { "delete" } else { "wal" };
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode != wanted {
            connection.pragma_update(None, "journal_mode", wanted)?;
        }
        // The last rows may be lost with the power, never the order of the file; records are written through on their own.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        if version < KNOWN {
            migrate(&mut connection)?;
        }
        let place = platform::identity(path);
        Ok((Self { connection, pending: BTreeMap::new(), writable: true, place }, version <= 0))
    }

    /// Opens an index that exists, to read. A folder that cannot be written holds no live WAL, so the file is read as is.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, Refused> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let open = |how: &str| -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open_with_flags(format!("file:{}{how}", escaped(path)), flags)?;
            connection.busy_timeout(BUSY)?;
            let version = version(&connection)?;
            Ok((connection, version))
        };
        let (connection, version) = match open("") {
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if matches!(
                    failure.code,
                    ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied
                ) =>
            {
                open("?immutable=1")?
            }
            other => other?,
        };
        match version {
            newer if newer > KNOWN => Err(Refused::Newer(newer, KNOWN)),
            older if older < KNOWN => Err(Refused::Older),
            _ => Ok(Self { connection, pending: BTreeMap::new(), writable: false, place: None }),
        }
    }

    /// Says whether this is no longer the file at `path`.
    pub(super) fn was_moved(&self, path: &Path) -> bool {
        self.place.is_some() && platform::identity(path) != self.place
    }

    /// Returns the record of an action.
    pub(super) fn record(&self, key: &Digest) -> rusqlite::Result<Option<String>> {
        let mut statement = self.connection.prepare_cached("SELECT record FROM actions WHERE key = ?1")?;
        statement.query_row([key.as_bytes()], |row| row.get(0)).optional()
    }

    /// Returns the keys and records of all actions, sorted by key.
    pub(super) fn records(&self) -> rusqlite::Result<Vec<(Digest, String)>> {
        let mut statement = self.connection.prepare_cached("SELECT key, record FROM actions ORDER BY key")?;
        let rows = statement.query_map([], |row| Ok((Digest::from_bytes(row.get(0)?), row.get(1)?)))?;
        rows.collect()
    }

    /// Returns every row of `actions` and what SQLite finds wrong with the file, and how many seals of `files` are broken.
    pub(super) fn audit(&self) -> rusqlite::Result<(Vec<ActionRow>, Vec<String>)> {
        let mut statement = self.connection.prepare("SELECT key, artifact, record FROM actions ORDER BY key")?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok((Digest::from_bytes(row.get(0)?), Digest::from_bytes(row.get(1)?), row.get::<_, String>(2)?))
        };
        let rows = statement.query_map([], row)?.collect::<rusqlite::Result<_>>()?;
        let mut statement = self.connection.prepare("PRAGMA integrity_check")?;
        let found = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut problems: Vec<String> = found.into_iter().filter(|line| line != "ok").collect();
        let mut statement = self.connection.prepare("SELECT path FROM files ORDER BY path")?;
        let paths = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        for path in paths {
            if self.seen(&path)?.is_none() {
                problems.push(format!("what it knows of {} is damaged", String::from_utf8_lossy(&path)));
            }
        }
        Ok((rows, problems))
    }

    /// Returns the keys of the actions that made an artifact.
    pub(super) fn keys_of(&self, artifact: &Digest) -> rusqlite::Result<Vec<Digest>> {
        let mut statement =
            self.connection.prepare_cached("SELECT key FROM actions WHERE artifact = ?1 ORDER BY key")?;
        let rows = statement.query_map([artifact.as_bytes()], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
        rows.collect()
    }

    /// Enters actions, or replaces them.
    pub(super) fn enter(&mut self, actions: &[ActionRow]) -> rusqlite::Result<()> {
        self.flush()?;
        self.in_transaction(|connection| insert_actions(connection, actions))
    }

    /// Replaces all actions by those that `rows` gives, which is asked when nobody else can enter any, and forgets the
    /// digests of files. If `rows` gives none, everything stays.
    pub(super) fn replace(&mut self, rows: impl FnOnce() -> Option<Vec<ActionRow>>) -> rusqlite::Result<()> {
        self.pending.clear();
        self.in_transaction(|connection| {
            let Some(rows) = rows() else { return Ok(()) };
            connection.execute_batch("DELETE FROM actions; DELETE FROM files")?;
            insert_actions(connection, &rows)
        })
    }

    /// Forgets actions.
    pub(super) fn forget(&mut self, keys: &[Digest]) -> rusqlite::Result<()> {
        self.in_transaction(|connection| {
            let mut statement = connection.prepare_cached("DELETE FROM actions WHERE key = ?1")?;
            keys.iter().try_for_each(|key| statement.execute([key.as_bytes()]).map(drop))
        })
    }

    /// Returns the last keys of the instances of this name, whatever their pipeline.
    pub(super) fn keys_named(&self, instance: &str) -> rusqlite::Result<Vec<Digest>> {
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT key FROM instances WHERE instance = ?1 ORDER BY key")?;
        let rows = statement.query_map([instance], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
        rows.collect()
    }

    /// Returns the last key of an instance.
    pub(super) fn last_key(&self, scope: &str, instance: &str) -> rusqlite::Result<Option<Digest>> {
        let mut statement =
            self.connection.prepare_cached("SELECT key FROM instances WHERE scope = ?1 AND instance = ?2")?;
        statement.query_row([scope, instance], |row| Ok(Digest::from_bytes(row.get(0)?))).optional()
    }

    /// Notes the last keys of instances. Writes nothing if they are known already.
    pub(super) fn remember(&mut self, scope: &str, keys: &[(String, Digest)]) -> rusqlite::Result<()> {
        let mut news = Vec::new();
        for (instance, key) in keys {
            if self.last_key(scope, instance)? != Some(*key) {
                news.push((instance, key));
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        self.in_transaction(|connection| {
            let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO instances VALUES (?1, ?2, ?3)")?;
            news.iter().try_for_each(|(name, key)| statement.execute(params![scope, name, key.as_bytes()]).map(drop))
        })
    }

    /// Returns what is known of a file.
    pub(super) fn seen(&self, path: &[u8]) -> rusqlite::Result<Option<Seen>> {
        if let Some(seen) = self.pending.get(path) {
            return Ok(Some(*seen));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT size, modified, changed, inode, device, hashed, digest, seal FROM files WHERE path = ?1",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let unsigned = |index| row.get::<_, i64>(index).map(|value| value as u64);
            let stamp = Stamp {
                size: unsigned(0)?,
                modified: row.get(1)?,
                changed: row.get(2)?,
                inode: unsigned(3)?,
                device: unsigned(4)?,
            };
            let seen = Seen { stamp, hashed: row.get(5)?, digest: Digest::from_bytes(row.get(6)?) };
            Ok((seen.seal(path) == row.get::<_, [u8; 8]>(7)?).then_some(seen))
        };
        statement.query_row([path], read).optional().map(Option::flatten)
    }

    /// Notes the digest of a file, to be written with the next batch.
    pub(super) fn note(&mut self, path: Vec<u8>, seen: Seen) -> rusqlite::Result<()> {
        if self.writable {
            self.pending.insert(path, seen);
        }
        if self.pending.len() < BATCH { Ok(()) } else { self.flush() }
    }

    /// Writes the gathered digests of files.
    fn flush(&mut self) -> rusqlite::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        self.in_transaction(|connection| {
            let insert = "INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let mut statement = connection.prepare_cached(insert)?;
            pending.iter().try_for_each(|(path, seen)| {
                let Stamp { size, modified, changed, inode, device } = seen.stamp;
                let (size, inode, device) = (size as i64, inode as i64, device as i64);
                let (digest, seal) = (seen.digest.as_bytes(), seen.seal(path));
                let row = params![path, size, modified, changed, inode, device, seen.hashed, digest, seal];
                statement.execute(row).map(drop)
            })
        })
    }

    fn in_transaction(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        // Immediate: one that begins by reading can be refused when it turns to writing, whatever the timeout.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&transaction)?;
        transaction.commit()
    }
}

impl Drop for Index {
    /// The digests of files are only a convenience: what cannot be written is computed again.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn insert_actions(connection: &Connection, actions: &[ActionRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO actions VALUES (?1, ?2, ?3)")?;
    let mut insert = |(key, artifact, record): &ActionRow| {
        statement.execute(params![key.as_bytes(), artifact.as_bytes(), record]).map(drop)
    };
    actions.iter().try_for_each(&mut insert)
}

/// Returns the path with the characters escaped that mean something in a SQLite URI.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing_and_a_newer_format_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        assert!(Index::open_to_write(&path, false).unwrap().1);
        let (index, created) = Index::open_to_write(&path, false).unwrap();
        assert!(!created);
        assert_eq!(version(&index.connection).unwrap(), KNOWN);
        index.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(index);
        assert!(matches!(Index::open_to_write(&path, false), Err(Refused::Newer(99, 1))));
        assert!(matches!(Index::open_to_read(&path), Err(Refused::Newer(99, 1))));
    }

    #[test]
    fn a_shared_disk_gets_a_rollback_journal_even_after_a_wal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd #1?%20.sqlite");
        for (shared, expected) in [(false, "wal"), (true, "delete"), (false, "wal")] {
            let (index, _) = Index::open_to_write(&path, shared).unwrap();
            let mode: String = index.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, expected);
            assert!(Index::open_to_read(&path).is_ok());
        }
    }
}
