//! The files a source brings in: found by path or glob, named, and digested through the cache's stat cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ExecError;
use crate::cache::Cache;
use crate::digest::{Digest, FileEntry, Manifest};
use crate::spec::params::SourceParams;

/// A file that a source brings in.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name in the artifact, with `/` between folders.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Finds and digests the files of a source, in the order of their names.
pub fn find(node: &str, params: &SourceParams, base: &Path, cache: &Cache) -> Result<Vec<SourceFile>, ExecError> {
    let (pattern, paths) = match (&params.dataset, &params.model) {
        (Some(pattern), _) => (pattern, dataset_files(node, pattern, base)?),
        (None, Some(folder)) => (folder, model_files(node, folder, base)?),
        (None, None) => return Err(ExecError::SourceMissing { node: node.into(), pattern: String::new() }),
    };
    if paths.is_empty() {
        return Err(ExecError::SourceMissing { node: node.into(), pattern: base.join(pattern).display().to_string() });
    }
    let mut files = Vec::with_capacity(paths.len());
    for (name, path) in paths {
        let (digest, size) = cache.file_digest(&path)?;
        files.push(SourceFile { name, path, digest, size });
    }
    check_pin(node, params, &files)?;
    Ok(files)
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
    // The folder of the pipeline may itself hold characters that mean something in a glob.
    let root = glob::Pattern::escape(&base.to_string_lossy());
    let full = if Path::new(pattern).is_absolute() { pattern.to_owned() } else { format!("{root}/{pattern}") };
    let matches = glob::glob(&full).map_err(|error| unusable(format!("it is no path or glob ({})", error.msg)))?;
    let mut files = BTreeMap::new();
    for path in matches {
        let path = path.map_err(|error| unusable(error.to_string()))?;
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| unusable(format!("the name of {} is not UTF-8", path.display())))?;
        if let Some(other) = files.insert(name.clone(), path.clone()) {
            let why = format!("{} and {} have the same name", other.display(), path.display());
            return Err(unusable(why));
        }
    }
    Ok(files)
}

fn model_files(node: &str, folder: &str, base: &Path) -> Result<BTreeMap<String, PathBuf>, ExecError> {
    let unusable = |why: String| ExecError::SourceUnusable { node: node.into(), pattern: folder.into(), why };
    let root = base.join(folder);
    if !root.is_dir() {
        return Err(unusable(format!("{} is not a folder", root.display())));
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
