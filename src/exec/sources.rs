//! The files a source brings in: found by path or glob, named, and digested through the cache's stat cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ExecError;
use super::outside::is_outside;
use crate::cache::Cache;
use crate::digest::{Digest, FileEntry, Manifest};
use crate::hub::Content;
use crate::spec::params::{Op, SourceParams};

/// A file that a source brings in.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name in the artifact, with `/` between folders.
    pub name: String,
    /// Where it lies: a path, or the address of a file outside.
    pub path: PathBuf,
    /// The digest of its content; of a file outside, what stands for it in keys.
    pub digest: Digest,
    /// Its size in bytes; 0 for a file outside whose size is not known yet.
    pub size: u64,
    /// Of a file outside: the digest that whoever offers it gives.
    pub content: Option<Content>,
}

impl SourceFile {
    /// Returns the digest of its content as the lockfile has it.
    pub fn written(&self) -> String {
        self.content.as_ref().map_or_else(|| self.digest.hex(), ToString::to_string)
    }
}

/// Finds and digests the files that a node takes from outside, in the order of their names.
pub fn find(node: &str, op: &Op, base: &Path, cache: &Cache) -> Result<Vec<SourceFile>, ExecError> {
    let mut files = Vec::new();
    for (name, path) in listed(node, op, base)? {
        let unusable = |why: String| ExecError::SourceUnusable { node: node.into(), pattern: name.clone(), why };
        // A device or a pipe would be read for ever.
        if !fs_err::metadata(&path).map_err(|error| unusable(error.to_string()))?.is_file() {
            return Err(unusable(format!("{} is not a regular file", path.display())));
        }
        let (digest, size) = cache.file_digest(&path).map_err(|error| unusable(error.to_string()))?;
        files.push(SourceFile { name, path, digest, size, content: None });
    }
    if let Op::Source(params) = op {
        check_pin(node, params, &files)?;
    }
    Ok(files)
}

/// Finds the files that a node takes from outside, by name and in that order.
pub fn listed(node: &str, op: &Op, base: &Path) -> Result<BTreeMap<String, PathBuf>, ExecError> {
    let missing = |pattern: &str| ExecError::SourceMissing {
        node: node.into(),
        pattern: base.join(pattern).display().to_string(),
    };
    let found = match op {
        Op::Source(params) if is_outside(params) => return Ok(BTreeMap::new()),
        Op::Source(SourceParams { dataset: Some(pattern), .. }) => (pattern, dataset_files(node, pattern, base)?),
        Op::Source(SourceParams { model: Some(folder), .. } | SourceParams { adapter: Some(folder), .. }) => {
            (folder, model_files(node, folder, base)?)
        }
        Op::Source(_) => return Err(missing("")),
        Op::Command(params) => {
            let mut all = BTreeMap::new();
            for pattern in &params.files {
                let found = program_files(node, pattern, base)?;
                if found.is_empty() {
                    return Err(missing(pattern));
                }
                all.extend(found);
            }
            return Ok(all);
        }
        _ => return Ok(BTreeMap::new()),
    };
    if found.1.is_empty() { Err(missing(found.0)) } else { Ok(found.1) }
}

/// Finds files that a program needs, by their paths relative to `base`: there it finds them too.
fn program_files(node: &str, pattern: &str, base: &Path) -> Result<BTreeMap<String, PathBuf>, ExecError> {
    let mut named = BTreeMap::new();
    for path in existing(node, pattern, base)? {
        let below = path.strip_prefix(base).ok().and_then(Path::to_str);
        let name = below.filter(|name| !name.split('/').any(|part| part == ".."));
        let unusable = || ExecError::SourceUnusable {
            node: node.into(),
            pattern: pattern.into(),
            why: format!("{} does not lie below {}", path.display(), base.display()),
        };
        named.insert(name.ok_or_else(unusable)?.to_owned(), path.clone());
    }
    Ok(named)
}

/// Returns the digest that `digest:` pins: of the one file (as `b3sum` gives it), or of the listing of several.
pub fn content_digest(files: &[SourceFile]) -> Digest {
    match files {
        [only] => only.digest,
        many => {
            let entry = |file: &SourceFile| FileEntry { path: file.name.clone(), size: file.size, digest: file.digest };
            Manifest { files: many.iter().map(entry).collect() }.digest()
        }
    }
}

fn check_pin(node: &str, params: &SourceParams, files: &[SourceFile]) -> Result<(), ExecError> {
    let Some(wanted) = &params.digest else { return Ok(()) };
    let found = content_digest(files);
    if wanted.parse::<Digest>().is_ok_and(|wanted| wanted == found) {
        return Ok(());
    }
    Err(ExecError::SourceDrifted { node: node.into(), wanted: wanted.clone(), found: found.to_string() })
}

fn dataset_files(node: &str, pattern: &str, base: &Path) -> Result<BTreeMap<String, PathBuf>, ExecError> {
    let unusable = |why: String| ExecError::SourceUnusable { node: node.into(), pattern: pattern.into(), why };
    let mut files = BTreeMap::new();
    for path in existing(node, pattern, base)? {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| unusable(format!("the name of {} is not UTF-8", path.display())))?;
        if let Some(other) = files.insert(name, path.clone()) {
            let why = format!("{} and {} have the same name", other.display(), path.display());
            return Err(unusable(why));
        }
    }
    Ok(files)
}

/// Returns the files that a path or a glob means.
fn existing(node: &str, pattern: &str, base: &Path) -> Result<Vec<PathBuf>, ExecError> {
    let literal = base.join(pattern);
    // A file that is there is meant as it is written, even if its name could be read as a glob.
    if fs_err::symlink_metadata(&literal).is_ok_and(|found| !found.is_dir()) {
        return Ok(vec![literal]);
    }
    let unusable = |why: String| ExecError::SourceUnusable { node: node.into(), pattern: pattern.into(), why };
    matching(pattern, base).map_err(unusable)
}

/// Returns the files that a glob matches; hidden ones only if it says so.
fn matching(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, String> {
    // The folder of the pipeline may itself hold characters that mean something in a glob.
    let root = base.to_str().ok_or_else(|| format!("the folder {} has no UTF-8 name", base.display()))?;
    let root = glob::Pattern::escape(root);
    let full = if Path::new(pattern).is_absolute() { pattern.to_owned() } else { format!("{root}/{pattern}") };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let matches = glob::glob_with(&full, options).map_err(|error| format!("it is no path or glob ({})", error.msg))?;
    let mut paths = Vec::new();
    for path in matches {
        let path = path.map_err(|error| error.to_string())?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn model_files(node: &str, folder: &str, base: &Path) -> Result<BTreeMap<String, PathBuf>, ExecError> {
    let unusable = |why: String| ExecError::SourceUnusable { node: node.into(), pattern: folder.into(), why };
    let root = base.join(folder);
    if root.is_file() {
        // A model in one file; whether it is one shows when it is brought in.
        let name = root.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| unusable(format!("the name of {} is not UTF-8", root.display())))?;
        return Ok(BTreeMap::from([(name, root)]));
    }
    if !root.is_dir() {
        return Err(unusable(format!("{} is neither a folder nor a file", root.display())));
    }
    let mut files = BTreeMap::new();
    for entry in fs_err::read_dir(&root)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let name = name.ok_or_else(|| unusable(format!("the name of {} is not UTF-8", path.display())))?;
            files.insert(name, path);
        }
    }
    Ok(files)
}
