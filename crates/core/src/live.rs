//! Values that are replaced atomically while they are in use.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that can be replaced at run time, for example after a reload. A caller of [`Live::current`] keeps the
/// version that it received, so no operation mixes the old and the new value.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// Wraps the initial value.
    #[must_use]
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(Arc::new(ArcSwap::new(value.into())))
    }

    /// The current version. Later replacements do not change the returned value.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value for every later call of [`Live::current`].
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        self.0.store(value.into());
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
