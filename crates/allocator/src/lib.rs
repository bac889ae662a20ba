//! The memory allocator of Curfew, and the one unsafe call in it.

/// The allocator mimalloc. It is faster here than the system allocator: see `docs/capacity.md`.
pub use mimalloc::MiMalloc;

/// Returns memory that is free to the operating system: of this thread, and of threads that have ended. Otherwise, mimalloc
/// returns it later or never. Call it after work that needs much memory for a moment.
pub fn return_free_memory() {
    #[expect(
        unsafe_code,
        reason = "the crate of mimalloc has no safe function for this"
    )]
    // SAFETY: `mi_collect` has no preconditions. Any thread can call it at any time, also if the program uses another
    // allocator.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: MiMalloc = MiMalloc;

    /// The memory of this process, in bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = status.split(' ').nth(1).unwrap();
        pages.parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn memory_of_a_thread_that_has_ended_is_returned() {
        const SIZE: usize = 64 * 1024 * 1024;
        let thread = std::thread::spawn(|| {
            let values: Vec<_> = (0..SIZE / 64).map(|it| Box::new([it; 8])).collect();
            (resident(), values)
        });
        let (peak, values) = thread.join().unwrap();
        drop(values);
        return_free_memory();
        let left = resident();
        assert!(left + SIZE / 2 < peak, "{left} of {peak}");
    }
}
