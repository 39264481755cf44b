//! Keeps this thread on one processor, so that it does not wander between caches while it is timed.

/// Pins the calling thread to the last processor that it may use, and says which; `None` where that cannot be done. The first
/// processors serve interrupts more often. Threads that are made afterwards stay on that processor, too: not for sessions with
/// several threads.
pub fn to_one_processor() -> Option<usize> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return gnu::pin();
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    #![allow(
        unsafe_code,
        reason = "both calls get a set of their own whose size they are told, and concern the calling thread only"
    )]

    pub(super) fn pin() -> Option<usize> {
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: a set of processors is plain numbers, all zero for none; see above.
        unsafe {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
                return None;
            }
            let last = (0..8 * size).rev().find(|&cpu| libc::CPU_ISSET(cpu, &allowed))?;
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(last, &mut one);
            (libc::sched_setaffinity(0, size, &raw const one) == 0).then_some(last)
        }
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn a_pinned_thread_has_one_processor_and_others_keep_theirs() {
        let before = std::thread::available_parallelism().unwrap();
        let pinned = std::thread::spawn(|| (super::to_one_processor(), std::thread::available_parallelism().unwrap().get()));
        let (processor, left) = pinned.join().unwrap();
        assert!(processor.is_some());
        assert_eq!(left, 1);
        assert_eq!(std::thread::available_parallelism().unwrap(), before);
    }
}
