//! The one place where a file is mapped into memory.

use std::path::Path;

use memmap2::Mmap;

use super::TensorError;

/// Maps a file for reading.
#[expect(unsafe_code, reason = "a memory map is a promise about the file that the compiler cannot check")]
pub(crate) fn map(path: &Path) -> Result<Mmap, TensorError> {
    regular(path)?;
    let file = fs_err::File::open(path)?;
    // SAFETY: the map is only read. The files are artifacts, which nobody changes once they exist; should somebody cut
    // one short all the same, the access ends the process with a signal, and does not read other memory.
    let mapped = unsafe { Mmap::map(file.file()) };
    mapped.map_err(|error| {
        std::io::Error::new(error.kind(), format!("{} cannot be mapped into memory: {error}", path.display())).into()
    })
}

/// Fails on a pipe or a device, which would be waited for or read for ever.
pub(super) fn regular(path: &Path) -> Result<(), TensorError> {
    if fs_err::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(TensorError::Index { file: path.to_owned(), reason: "it is not a regular file".into() })
}

/// Gives the memory behind a piece of a map back to the system; the next look reads it from the file again.
///
/// A merge looks at each byte once or twice. Without this, all of its inputs would end up in its memory.
#[cfg(unix)]
#[expect(unsafe_code, reason = "giving pages back is only harmless for a map that nobody has written to")]
pub(crate) fn release(map: &Mmap, start: usize, end: usize) {
    const PAGE: usize = 1 << 16;
    // A page that two pieces share goes with the second one.
    let (start, end) = (start / PAGE * PAGE, end / PAGE * PAGE);
    if start < end {
        // SAFETY: the map is shared and read-only, so a page that is given back reads the same when it is needed again.
        // A refusal costs memory and nothing else.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    }
}

/// Brings a piece of a map into memory in one step. Otherwise every few pages that are looked at interrupt the program.
#[cfg(target_os = "linux")]
pub(super) fn expect(map: &Mmap, start: usize, end: usize) {
    const WORTH_IT: usize = 1 << 16;
    if end.saturating_sub(start) >= WORTH_IT {
        // Older systems don't know this, and go page by page.
        let _ = map.advise_range(memmap2::Advice::PopulateRead, start, end - start);
    }
}

/// Elsewhere it comes page by page.
#[cfg(not(target_os = "linux"))]
pub(super) fn expect(_map: &Mmap, _start: usize, _end: usize) {}

/// Elsewhere the system decides alone.
#[cfg(not(unix))]
pub(crate) fn release(_map: &Mmap, _start: usize, _end: usize) {}
