//! The one place where a file is mapped into memory.

use std::path::Path;

use memmap2::Mmap;

use super::TensorError;

/// Maps a file for reading.
#[expect(unsafe_code, reason = "a memory map is a promise about the file that the compiler cannot check")]
pub(super) fn map(path: &Path) -> Result<Mmap, TensorError> {
    let file = fs_err::File::open(path)?;
    // SAFETY: the map is only read. The files are artifacts, which nobody changes once they exist; should somebody cut
    // one short all the same, the access ends the process with a signal, and does not read other memory.
    Ok(unsafe { Mmap::map(file.file()) }?)
}
