//! Values that are replaced as a whole while others use them.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that can be replaced. Whoever has begun to use it goes on with the one it was, so that
/// nothing is ever done half by one and half by the other.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// This value, until it is replaced.
    #[must_use]
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(Arc::new(ArcSwap::new(value.into())))
    }

    /// The value as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value for everyone who asks from now on.
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        self.0.store(value.into());
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
