//! Waiting until a file changes that a pipeline is made from.
//!
//! Looked at twice a second, by name, size and time: no file system forgets to tell, and a glob's new file shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(500);

/// What files looked like: size and time of change, nothing for one that is not there.
pub(super) type Look = BTreeMap<PathBuf, Option<(u64, Option<SystemTime>)>>;

/// Returns what files look like now.
pub(super) fn look(files: impl IntoIterator<Item = PathBuf>) -> Look {
    files.into_iter().map(|path| (path.clone(), at(&path))).collect()
}

fn at(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = fs_err::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

/// Waits until `now` looks different, and then until it stays as it is for a moment: an editor writes in several steps.
/// Says whether it did; not if the user stopped.
pub(super) fn wait(old: &Look, now: impl Fn() -> Look, cancelled: &AtomicBool) -> bool {
    let mut seen = old.clone();
    loop {
        std::thread::sleep(PAUSE);
        if cancelled.load(Ordering::Relaxed) {
            return false;
        }
        let look = now();
        if look == seen && seen != *old {
            return true;
        }
        seen = look;
    }
}

/// Returns a file and all pipeline files beside it: what it includes may not be known yet.
pub(super) fn beside(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let written = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    entries.filter(written).chain([file.to_path_buf()]).collect()
}
