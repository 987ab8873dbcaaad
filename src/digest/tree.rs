//! The digest of a folder: of the listing of its files, never of the folder itself.
//!
//! Times, modes, owners and the order in which the file system gives names do not count; neither do empty folders. A
//! symbolic link has no content of its own and could lead anywhere, so it is an error, as is a name that another machine
//! could not have. The digest is over these bytes, little-endian, files sorted by the bytes of their path:
//!
//! `luthflow tree 1\n`, the count of files (8 bytes), then for each file the length of its path in bytes (8 bytes), the
//! path relative to the folder with `/` between names, the size in bytes (8 bytes), the digest of its content (32 bytes).

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Digest, DigestError, file_digest};

const START: &[u8] = b"luthflow tree 1\n";

/// So many files are digested one after the other.
const FEW: usize = 4;

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path relative to the folder, with `/` between names on every system.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// The listing of a folder: every file below it, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Listing")]
pub struct Manifest {
    /// The files, sorted by the bytes of their path.
    pub files: Vec<FileEntry>,
}

/// A listing as it was read, before its paths were checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    files: Vec<FileEntry>,
}

impl TryFrom<Listing> for Manifest {
    type Error = DigestError;

    /// Refuses paths that lead out of the folder, and any order but the one that [`Manifest::of_dir`] gives.
    fn try_from(listing: Listing) -> Result<Self, DigestError> {
        let bad = |entry: &FileEntry, problem| DigestError::BadManifest { path: entry.path.clone(), problem };
        for entry in &listing.files {
            if entry.path.split('/').any(|name| matches!(name, "" | "." | "..")) || entry.path.contains('\0') {
                return Err(bad(entry, "is not a plain relative path"));
            }
        }
        let mut pairs = listing.files.iter().zip(listing.files.iter().skip(1));
        if let Some((_, late)) = pairs.find(|(one, next)| one.path >= next.path) {
            return Err(bad(late, "stands after a path that sorts behind it"));
        }
        Ok(Self { files: listing.files })
    }
}

impl Manifest {
    /// Lists a folder and digests every file in it, on all threads of the current pool.
    pub fn of_dir(dir: &Path) -> Result<Self, DigestError> {
        let mut paths = Vec::new();
        list(dir, "", &mut paths)?;
        paths.sort_unstable();
        let entry = |path: String| {
            let (digest, size) = file_digest(&dir.join(&path))?;
            Ok(FileEntry { path, size, digest })
        };
        // Waking threads for a few files takes longer than they do; a large one gets all threads anyway.
        let files: Vec<Result<FileEntry, DigestError>> = if paths.len() <= FEW {
            paths.into_iter().map(entry).collect()
        } else {
            paths.into_par_iter().map(entry).collect()
        };
        // Collected in two steps, so that of several errors the first in the listing is told, whoever met one first.
        Ok(Self { files: files.into_iter().collect::<Result<_, _>>()? })
    }

    /// Returns the digest of the listing, which identifies the content of the folder.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(START).update(&(self.files.len() as u64).to_le_bytes());
        for FileEntry { path, size, digest } in &self.files {
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes());
            hasher.update(&size.to_le_bytes()).update(digest.as_bytes());
        }
        hasher.finalize().into()
    }

    /// Returns the listing of what lies below `path`, itself relative to that folder: what [`Manifest::of_dir`] gives
    /// for it. An empty `path` means all. If `path` is a file, the listing holds it alone, under its name. If nothing
    /// lies there, the listing is empty.
    #[must_use]
    pub fn subtree(&self, path: &str) -> Self {
        let path = path.trim_matches('/');
        if path.is_empty() || path == "." {
            return self.clone();
        }
        let below = |entry: &FileEntry| {
            let rest = entry.path.strip_prefix(path)?;
            let name = match rest.strip_prefix('/') {
                Some(name) => name,
                None if rest.is_empty() => path.rsplit('/').next().unwrap_or(path),
                None => return None,
            };
            Some(FileEntry { path: name.to_owned(), ..entry.clone() })
        };
        // Files of one folder stand together and in order already: their paths share a prefix.
        Self { files: self.files.iter().filter_map(below).collect() }
    }

    /// Returns the sum of the file sizes, in bytes.
    pub fn total_size(&self) -> u64 {
        self.files.iter().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }
}

/// Appends the relative paths of all files below `dir`, which itself is `prefix` from where the listing starts.
fn list(dir: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), DigestError> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let (kind, full) = (entry.file_type()?, entry.path());
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(DigestError::BadName { path: full, problem: "is not UTF-8" });
        };
        if name.contains('\\') {
            return Err(DigestError::BadName { path: full, problem: "holds a backslash" });
        }
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            list(&full, &path, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        } else {
            let what = if kind.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" };
            return Err(DigestError::NotAFile { path: full, what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder
    }

    const FILES: [(&str, &str); 5] =
        [("train/data.jsonl", "a\n"), ("train-x", "b"), ("eval/data.jsonl", ""), ("train/more/é.txt", "c"), ("z", "d")];

    /// This literal guards every artifact in the world: a change here makes all of them strangers.
    #[test]
    fn golden_digest_that_creation_order_empty_folders_and_times_do_not_change() {
        let golden = "90aa6554178a0696eeb64fb7042c390b5fcc9b6f3e0e6dec6f62da0d8aad7722";
        assert_eq!(Manifest::of_dir(folder(&FILES).path()).unwrap().digest().hex(), golden);
        let mut reversed = FILES;
        reversed.reverse();
        let other = folder(&reversed);
        fs_err::create_dir_all(other.path().join("empty/folders")).unwrap();
        let file = fs_err::File::options().write(true).open(other.path().join("z")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(Manifest::of_dir(other.path()).unwrap().digest().hex(), golden);
        assert_eq!(
            Manifest::default().digest().hex(),
            "e787f4797083277b94891b10b4df9128fdb904795a33c4fc3fdea9d20e84e921"
        );
    }

    #[test]
    fn any_change_of_name_place_or_content_changes_the_digest() {
        let start = Manifest::of_dir(folder(&FILES).path()).unwrap().digest();
        for index in 0..FILES.len() {
            let mut content = FILES;
            content[index].1 = "other";
            let mut place = FILES;
            place[index].0 = "elsewhere/file";
            let fewer: Vec<_> = FILES.iter().copied().filter(|file| file.0 != FILES[index].0).collect();
            for files in [&content[..], &place[..], &fewer[..]] {
                assert_ne!(Manifest::of_dir(folder(files).path()).unwrap().digest(), start);
            }
        }
    }

    #[test]
    fn a_subtree_is_the_listing_of_that_folder() {
        let folder = folder(&FILES);
        let all = Manifest::of_dir(folder.path()).unwrap();
        assert_eq!(all.total_size(), 5);
        for below in ["train", "train/more", "eval"] {
            assert_eq!(all.subtree(below), Manifest::of_dir(&folder.path().join(below)).unwrap());
            assert_eq!(all.subtree(&format!("{below}/")), all.subtree(below));
        }
        assert_eq!(all.subtree(""), all);
        assert_eq!(all.subtree("trai").files, []);
        let file = all.subtree("train/more/é.txt").files;
        assert_eq!((file.len(), file[0].path.as_str(), file[0].digest), (1, "é.txt", Digest::of(b"c")));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_foreign_names_are_refused_by_path() {
        use std::os::unix::ffi::OsStrExt as _;

        let linked = folder(&FILES);
        std::os::unix::fs::symlink("z", linked.path().join("train/link")).unwrap();
        let error = Manifest::of_dir(linked.path()).unwrap_err().to_string();
        assert!(error.contains("train/link is a symbolic link"), "{error}");
        for name in [&b"bad\xff"[..], b"a\\b"] {
            let named = folder(&FILES);
            fs_err::write(named.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
            assert!(matches!(Manifest::of_dir(named.path()), Err(DigestError::BadName { .. })));
        }
    }

    #[test]
    fn a_listing_read_back_is_checked() {
        let all = Manifest::of_dir(folder(&FILES).path()).unwrap();
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), all);
        for bad in ["../x", "/x", "a//b", "a/./b", "", "..", "a\\u0000"] {
            let digest = Digest::of(b"").hex();
            let json = format!(r#"{{"files":[{{"path":"{bad}","size":0,"digest":"{digest}"}}]}}"#);
            assert!(serde_json::from_str::<Manifest>(&json).is_err(), "{bad}");
        }
        let mut unsorted = all.clone();
        unsorted.files.swap(0, 1);
        assert!(serde_json::from_str::<Manifest>(&serde_json::to_string(&unsorted).unwrap()).is_err());
        let mut twice = all;
        twice.files.insert(0, twice.files[0].clone());
        assert!(serde_json::from_str::<Manifest>(&serde_json::to_string(&twice).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn listings_with_the_same_digest_are_equal(
            a in prop::collection::btree_map("[ab/]{1,3}", 0..3_u64, 0..4),
            b in prop::collection::btree_map("[ab/]{1,3}", 0..3_u64, 0..4),
        ) {
            let listing = |map: std::collections::BTreeMap<String, u64>| Manifest {
                files: map.into_iter().map(|(path, size)| FileEntry { path, size, digest: Digest::of(b"") }).collect(),
            };
            let (a, b) = (listing(a), listing(b));
            prop_assert_eq!(a.digest() == b.digest(), a == b);
        }
    }
}
