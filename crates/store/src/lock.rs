//! The mutex for state that requests share. In tests, the scheduler of `testing::race` controls when a task takes the
//! mutex.

#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;

#[cfg(test)]
pub(crate) use scheduled::Mutex;

/// In a race test, the scheduler may run other tasks before [`Mutex::lock`] takes the lock.
#[cfg(test)]
mod scheduled {
    use parking_lot::MutexGuard;

    use crate::testing::race;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(inner: T) -> Self {
            Self(parking_lot::Mutex::new(inner))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            while race::is_in_race() {
                shuttle::thread::yield_now();
                if let Some(guard) = self.0.try_lock() {
                    return guard;
                }
            }
            self.0.lock()
        }
    }
}
