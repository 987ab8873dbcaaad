//! The index: that it can be cut, spoilt, deleted or come from the future, and the cache still answers rightly.

use std::path::{Path, PathBuf};

use luthflow::cache::{Access, Cache, CacheError};
use luthflow::digest::Digest;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::cache::{commit, reader, replace, verify, writer};

fn index(root: &Path) -> PathBuf {
    root.join("index.sqlite")
}

/// The rows of `actions`, in key order.
fn rows(root: &Path) -> Vec<(Vec<u8>, Vec<u8>, String)> {
    let connection = Connection::open(index(root)).unwrap();
    let mut statement = connection.prepare("SELECT key, artifact, record FROM actions ORDER BY key").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Puts a digest into the row of a file, sealed as the cache seals it: see `Seen::seal`.
pub(crate) fn plant_digest(root: &Path, file: &Path, digest: Digest) {
    let path = file.as_os_str().as_encoded_bytes();
    let connection = Connection::open(index(root)).unwrap();
    let query = "SELECT size, modified, changed, inode, device, hashed FROM files WHERE path = ?1";
    let numbers: [i64; 6] = connection
        .query_row(query, [path], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
        })
        .unwrap();
    let mut sealed = path.to_vec();
    for number in numbers {
        sealed.extend(number.to_le_bytes());
    }
    sealed.extend(digest.as_bytes());
    let seal = &Digest::of(&sealed).as_bytes()[..8].to_vec();
    let update = "UPDATE files SET digest = ?2, seal = ?3 WHERE path = ?1";
    assert_eq!(connection.execute(update, params![path, digest.as_bytes(), seal]).unwrap(), 1);
}

fn full(root: &Path) -> Vec<luthflow::cache::Action> {
    let cache = writer(root);
    (0..12).map(|number| commit(&cache, &number.to_string(), &format!("content {number}"))).collect()
}

#[test]
fn repair_and_a_deleted_index_give_the_same_rows() {
    let root = TempDir::new().unwrap();
    let actions = full(root.path());
    let before = rows(root.path());
    assert_eq!(before.len(), actions.len());
    Connection::open(index(root.path())).unwrap().execute("DELETE FROM actions WHERE key < x'80'", []).unwrap();
    assert_eq!(writer(root.path()).repair().unwrap().actions, actions.len() as u64);
    assert_eq!(rows(root.path()), before);
    fs_err::remove_file(index(root.path())).unwrap();
    assert!(reader(root.path()).action(&actions[3].key).unwrap().is_some(), "the record files answer");
    assert_eq!(reader(root.path()).actions().unwrap().len(), actions.len());
    drop(writer(root.path()));
    assert_eq!(rows(root.path()), before);
}

#[test]
fn an_index_cut_anywhere_is_replaced_without_losing_an_action() {
    let root = TempDir::new().unwrap();
    let actions = full(root.path());
    let before = rows(root.path());
    let whole = fs_err::read(index(root.path())).unwrap();
    let lengths = [1, 15, 16, 99, 100, 511, 512, 4095, 4096, 4097].into_iter().chain((0..whole.len()).step_by(6007));
    for length in lengths {
        replace(&index(root.path()), &whole[..length]);
        let cache = reader(root.path());
        for action in &actions {
            assert_eq!(cache.action(&action.key).unwrap().as_ref(), Some(action), "read, cut at {length}");
        }
        drop(cache);
        let cache = writer(root.path());
        for action in &actions {
            assert_eq!(cache.action(&action.key).unwrap().as_ref(), Some(action), "write, cut at {length}");
        }
        assert_eq!(cache.actions().unwrap().len(), actions.len());
        // To SQLite a file of up to one byte is a new one; a cut within the last page spoils only the table there, which may be empty.
        if (2..=whole.len() - 4096).contains(&length) {
            let notices = cache.notices();
            assert!(notices.iter().any(|notice| notice.contains("damaged")), "cut at {length}: {notices:?}");
        }
        drop(cache);
        assert_eq!(rows(root.path()), before, "cut at {length}");
    }
}

#[test]
fn spoilt_pages_never_give_a_wrong_answer() {
    let root = TempDir::new().unwrap();
    let actions = full(root.path());
    let whole = fs_err::read(index(root.path())).unwrap();
    for page in 0..whole.len() / 4096 {
        for (from, to) in [(0, 4096), (0, 100), (100, 2000), (3000, 4096)] {
            let mut spoilt = whole.clone();
            for byte in &mut spoilt[page * 4096 + from..page * 4096 + to] {
                *byte = byte.wrapping_mul(31).wrapping_add(77);
            }
            replace(&index(root.path()), &spoilt);
            for cache in [reader(root.path()), writer(root.path())] {
                for action in &actions {
                    assert_eq!(cache.action(&action.key).unwrap().as_ref(), Some(action), "page {page}, from {from}");
                }
                assert_eq!(cache.last("scope", "sft").unwrap(), None);
            }
        }
    }
    assert!(verify(&writer(root.path())).is_clean());
}

#[test]
fn a_record_cut_at_any_byte_is_absent_or_answered_by_the_index() {
    let root = TempDir::new().unwrap();
    let action = commit(&writer(root.path()), "one", "text");
    let hex = action.key.hex();
    let record = root.path().join("actions").join(&hex[..2]).join(format!("{hex}.json"));
    let whole = fs_err::read(&record).unwrap();
    let kept = fs_err::read(index(root.path())).unwrap();
    for length in 0..whole.len() - 1 {
        replace(&record, &whole[..length]);
        assert_eq!(reader(root.path()).action(&action.key).unwrap().as_ref(), Some(&action), "cut at {length}");
        fs_err::remove_file(index(root.path())).unwrap();
        let cache = reader(root.path());
        assert_eq!(cache.action(&action.key).unwrap(), None, "cut at {length}");
        assert_eq!(cache.actions().unwrap(), []);
        fs_err::write(index(root.path()), &kept).unwrap();
    }
    let report = verify(&reader(root.path()));
    assert_eq!((report.unreadable.len(), report.orphans.len()), (1, 1));
    let repaired = writer(root.path()).repair().unwrap();
    assert_eq!((repaired.actions, repaired.moved_aside.len()), (0, 1));
    assert!(verify(&reader(root.path())).is_clean());
    // The orphan is used when the action runs again.
    assert_eq!(commit(&writer(root.path()), "one", "text").artifact, action.artifact);
    assert!(verify(&reader(root.path())).orphans.is_empty());
}

#[test]
fn an_index_from_the_future_is_refused_and_left_alone() {
    let root = TempDir::new().unwrap();
    full(root.path());
    Connection::open(index(root.path())).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs_err::read(index(root.path())).unwrap();
    for access in [Access::Read, Access::Write] {
        let error = Cache::open(root.path(), access, &mut |_| ()).unwrap_err();
        assert!(matches!(error, CacheError::NewerIndex { found: 7, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("newer luthflow") && error.way_out().unwrap().contains("update"));
    }
    assert_eq!(fs_err::read(index(root.path())).unwrap(), before);
}

#[test]
fn a_flipped_bit_in_the_row_of_a_file_is_not_believed() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("data");
    fs_err::write(&file, "text").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let cache_root = root.path().join("cache");
    writer(&cache_root).file_digest(&file).unwrap();
    let spoil = "UPDATE files SET digest = zeroblob(32)";
    assert_eq!(Connection::open(index(&cache_root)).unwrap().execute(spoil, []).unwrap(), 1);
    assert_eq!(writer(&cache_root).file_digest(&file).unwrap().0, Digest::of(b"text"));
}
