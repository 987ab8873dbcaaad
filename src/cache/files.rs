//! Writing that is whole or absent: a temporary file, written through to the disk, renamed into place.
//!
//! The folder that receives the name is written through as well; without that a power cut can forget the rename after
//! the program said it was done.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::platform;

/// Returns the content of a file of at most `limit` bytes; `None` if there is no file, or a longer one.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Says whether the error means that nothing lies there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Writes a read-only file, whole or not at all, and through to the disk. `temporary` is a folder on the same file system
/// for the half-done one.
pub(super) fn write_whole(path: &Path, bytes: &[u8], temporary: &Path) -> io::Result<()> {
    persist(half_done(bytes, temporary, true)?, path, true)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// As [`write_whole`], unless something has that name: then `false`. Of several who try at once, one succeeds. `before` is
/// done when the bytes are on the disk and the name is not yet given.
pub(super) fn write_new(
    path: &Path,
    bytes: &[u8],
    temporary: &Path,
    before: &dyn Fn() -> io::Result<()>,
) -> io::Result<bool> {
    let file = half_done(bytes, temporary, true)?;
    before()?;
    match persist(file, path, false) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(true)
}

/// Writes a read-only file, whole or not at all as long as the power stays on. For what can be made again: writing
/// through to the disk takes milliseconds.
pub(super) fn write_lightly(path: &Path, bytes: &[u8], temporary: &Path) -> io::Result<()> {
    persist(half_done(bytes, temporary, false)?, path, true)
}

fn half_done(bytes: &[u8], temporary: &Path, through: bool) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(temporary).map_err(|error| naming(&error, temporary))?;
    file.write_all(bytes).map_err(|error| naming(&error, temporary))?;
    platform::make_read_only(file.path())?;
    if through {
        file.as_file().sync_all().map_err(|error| naming(&error, temporary))?;
    }
    Ok(file)
}

fn persist(file: NamedTempFile, path: &Path, replacing: bool) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    create_dir_durably(parent)?;
    let persisted = if replacing { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map(drop).map_err(|error| naming(&error.error, parent))
}

fn naming(error: &io::Error, place: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("failed to write a file in `{}`: {error}", place.display()))
}

/// Renames durably, creating the folder it goes to.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    rename_soon(from, to)?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Renames, creating the folder it goes to, which the caller then writes through to the disk.
pub(super) fn rename_soon(from: &Path, to: &Path) -> io::Result<()> {
    create_dir_durably(to.parent().unwrap_or(Path::new(".")))?;
    fs_err::rename(from, to)
}

/// Creates a folder in an existing one, if it is not there.
fn create_dir_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs_err::create_dir_all(path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes the names in a folder through to the disk.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { fs_err::File::open(path)?.sync_all() } else { Ok(()) }
}

/// Moves something into `folder` under a free name that starts with `name`, and returns its path there.
pub(super) fn move_aside(from: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    fs_err::create_dir_all(folder)?;
    let free = (1..u32::MAX).map(|number| folder.join(format!("{name}.{number}"))).find(|path| !path.exists());
    let to = free.unwrap_or_else(|| folder.join(name));
    rename_durably(from, &to)?;
    Ok(to)
}

/// Returns the paths in a folder, sorted; none if there is no folder.
pub(super) fn sorted_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}
