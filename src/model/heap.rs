//! Memory that a pass frees stays with the process: the next pass wants it again.
//!
//! glibc gives the free end of its heap back to the system when a layer or a backward pass has let go of what was kept, and
//! gets the same pages again, emptied, for the next: for SmolLM2 40,000 to 65,000 page faults a step of a training, and a
//! tenth of the time of a prompt. The most memory that a process takes is not changed by this, and a node's process ends with
//! the node. Other libraries have other rules, and are left alone.

/// From now on the heap keeps what is freed.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[expect(unsafe_code, reason = "the standard library has no words for the heap's settings")]
pub(crate) fn keep_freed() {
    use std::ffi::c_int;

    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    /// Blocks above it are mapped one by one. To set any threshold stops glibc from raising this one by itself, so it is set
    /// to where that would end.
    const LARGEST_IN_HEAP: c_int = 32 << 20;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // SAFETY: glibc has this function on all its platforms; it takes two numbers. A thread that allocates meanwhile may see the
    // old or the new one, and both are right.
    unsafe {
        mallopt(MMAP_THRESHOLD, LARGEST_IN_HEAP);
        mallopt(TRIM_THRESHOLD, -1);
    }
}

/// Nothing is known of this platform's heap.
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
pub(crate) fn keep_freed() {}
