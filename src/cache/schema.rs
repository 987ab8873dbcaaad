//! The tables of the index, and how they came to be what they are.

use rusqlite::{Connection, TransactionBehavior};

/// How the schema grew. Append only: a cache on disk has run a prefix of this list, and `user_version` is its length.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE actions (key BLOB PRIMARY KEY, artifact BLOB NOT NULL, record TEXT NOT NULL) STRICT;
    CREATE INDEX actions_by_artifact ON actions (artifact);
    CREATE TABLE instances (scope TEXT, instance TEXT, key BLOB NOT NULL, PRIMARY KEY (scope, instance)) STRICT, WITHOUT ROWID;
    CREATE TABLE files (
        path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, changed INTEGER NOT NULL,
        inode INTEGER NOT NULL, device INTEGER NOT NULL, hashed INTEGER NOT NULL, digest BLOB NOT NULL, seal BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
"];

/// The newest format that this program knows.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Returns the format of an index; 0 for a new file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings an index to the newest format, all of it or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    // Only now: another process may have done it while we waited.
    let from = version(&transaction)?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(from.max(0) as usize) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number as i64 + 1)?;
    }
    transaction.commit()
}
