//! The one place where a file is mapped into memory.

use std::path::Path;

use memmap2::Mmap;

use super::TensorError;

/// Maps a file for reading.
#[expect(unsafe_code, reason = "a memory map is a promise about the file that the compiler cannot check")]
pub(crate) fn map(path: &Path) -> Result<Mmap, TensorError> {
    let file = fs_err::File::open(path)?;
    // SAFETY: the map is only read. The files are artifacts, which nobody changes once they exist; should somebody cut
    // one short all the same, the access ends the process with a signal, and does not read other memory.
    Ok(unsafe { Mmap::map(file.file()) }?)
}

/// Gives the memory behind a piece of a map back to the system; the next look reads it from the file again.
///
/// A merge looks at each byte once or twice. Without this, all of its inputs would end up in its memory.
#[cfg(unix)]
#[expect(unsafe_code, reason = "giving pages back is only harmless for a map that nobody has written to")]
pub(crate) fn release(map: &Mmap, start: usize, end: usize) {
    const PAGE: usize = 1 << 16;
    let (start, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
    if start < end {
        // SAFETY: the map is shared and read-only, so a page that is given back reads the same when it is needed again.
        // A refusal costs memory and nothing else.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    }
}

/// Elsewhere the system decides alone.
#[cfg(not(unix))]
pub(crate) fn release(_map: &Mmap, _start: usize, _end: usize) {}
