//! What the C library's allocator does with memory that was freed.
//!
//! The GNU C library maps a large block from the system when it is asked for, and unmaps it when it is freed. A runtime that
//! asks for the same activations in every run so pays for every page anew, a quarter of the time of small networks. Against
//! that there are two rules here: what is freed is kept while sessions run ([`keep_freed`], a choice of the program), and
//! given back when a session ends ([`GiveBack`]), if it is much. Other C libraries are left alone.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    #![allow(
        unsafe_code,
        reason = "these calls take no pointer, are thread-safe, and only touch what the allocator holds free"
    )]

    /// The largest value that every version of the library takes for the size of blocks to map.
    const LARGE: libc::c_int = 32 << 20;
    /// Free memory that is kept for the next session: mapping 55 MB anew took 25 ms, three runs of MobileNetV2.
    const KEPT: u32 = 96 << 20;

    pub(super) fn keep_freed() {
        // SAFETY: see above. A value that is refused changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
        }
    }

    pub(super) fn give_back() {
        // SAFETY: see above.
        unsafe {
            if libc::mallinfo().fordblks.cast_unsigned() > KEPT {
                libc::malloc_trim(0);
            }
        }
    }
}

/// Lets the allocator keep blocks of up to 32 MiB, and as much free memory, for the next request. Holds for the whole process
/// and is therefore for programs to call, once, when they start; libraries should leave the choice to them.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    gnu::keep_freed();
}

/// Gives memory that was freed back to the system when a session ends, if it is much: the next one would not find its pieces
/// large enough, and sessions follow each other.
pub(crate) struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        gnu::give_back();
    }
}
