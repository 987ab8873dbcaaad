//! Where everything lies in a cache folder. `cache/README.md` describes the same for people.

use std::path::{Path, PathBuf};

use super::CacheError;
use super::files;
use crate::digest::Digest;

/// Tells backup programs to pass the folder by (<https://bford.info/cachedir/>), and us that it is ours.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file marks a cache folder of luthflow: what is in here can be made again by running the pipelines.\n";

/// The folders of a cache.
const FOLDERS: [&str; 5] = ["objects", "actions", "staging", "quarantine", "runs"];

/// The paths of a cache.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.sqlite")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The lock over looking up and taking away.
    pub(super) fn gate(&self) -> PathBuf {
        self.root.join("gate")
    }

    /// The lock over moving damaged things aside.
    pub(super) fn mend_lock(&self) -> PathBuf {
        self.root.join("mend.lock")
    }

    /// The lock over opening and replacing the index.
    pub(super) fn index_lock(&self) -> PathBuf {
        self.root.join("index.lock")
    }

    pub(super) fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(super) fn lease(&self, key: &Digest) -> PathBuf {
        self.leases().join(key.hex())
    }

    /// The files that name lockfiles of known pipelines.
    pub(super) fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// Files of interrupted pulls that were found sound.
    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// What nodes can compute again.
    pub(super) fn memo(&self) -> PathBuf {
        self.root.join("memo")
    }

    /// What unfinished nodes need to go on.
    pub(super) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// The folder of an artifact.
    pub(super) fn object(&self, artifact: &Digest) -> PathBuf {
        let hex = artifact.hex();
        self.objects().join(&hex[..2]).join(hex)
    }

    /// The listing of an artifact, beside it.
    pub(super) fn manifest(&self, artifact: &Digest) -> PathBuf {
        self.object(artifact).with_extension("json")
    }

    pub(super) fn actions(&self) -> PathBuf {
        self.root.join("actions")
    }

    /// The record of an action.
    pub(super) fn action(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.actions().join(&hex[..2]).join(format!("{hex}.json"))
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The snapshot of a pipeline. `scope` tells pipelines apart.
    /// Renewed whenever something is taken out of the cache.
    pub(super) fn epoch(&self) -> PathBuf {
        self.root.join("snapshots.epoch")
    }

    pub(super) fn snapshot(&self, scope: &str) -> PathBuf {
        self.snapshots().join(Digest::of(scope.as_bytes()).hex())
    }

    /// Refuses a folder that somebody uses for something else: staging is emptied without asking.
    ///
    /// The folders are looked for before the mark, the other way round than they are created: a cache that another
    /// process is creating has its mark by the time one of its folders is seen.
    pub(super) fn refuse_foreign(&self) -> Result<(), CacheError> {
        let Some(entry) = FOLDERS.into_iter().find(|name| self.root.join(name).exists()) else { return Ok(()) };
        let tag = files::read_bounded(&self.tag(), 4096)?.unwrap_or_default();
        let signature = TAG.lines().next().unwrap_or(TAG);
        if tag.starts_with(signature.as_bytes()) {
            return Ok(());
        }
        Err(CacheError::NotACache { path: self.root.clone(), entry })
    }

    /// Creates what is missing, the mark before the folders. Several processes may do so at once.
    pub(super) fn create(&self) -> Result<(), CacheError> {
        if !self.tag().exists() {
            files::write_whole(&self.tag(), TAG.as_bytes(), &self.root)?;
        }
        for folder in FOLDERS {
            let path = self.root.join(folder);
            if !path.is_dir() {
                fs_err::create_dir_all(path)?;
            }
        }
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            files::write_lightly(&ignore, b"*\n", &self.root)?;
        }
        Ok(())
    }

    fn tag(&self) -> PathBuf {
        self.root.join("CACHEDIR.TAG")
    }
}

/// Returns the digest that a file or folder name starts with (`<hex>`, `<hex>.json`), or `None` for any other name.
pub(super) fn digest_of_name(path: &Path) -> Option<Digest> {
    let stem = path.file_stem()?.to_str()?;
    let digest: Digest = stem.parse().ok()?;
    (digest.hex() == stem).then_some(digest)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// More threads than processors, so that some are stopped between any two looks at the folder.
    #[test]
    fn a_cache_that_another_is_creating_is_not_foreign() {
        for round in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout { root: root.path().to_path_buf() };
            let created = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..32 {
                    scope.spawn(|| {
                        while !created.load(Ordering::Relaxed) {
                            layout.refuse_foreign().unwrap_or_else(|error| panic!("round {round}: {error}"));
                        }
                    });
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
                layout.create().unwrap();
                created.store(true, Ordering::Relaxed);
            });
        }
    }
}
