/// Why a store could not answer. None of these says anything about a session: a check that meets
/// one is answered with `store_unavailable`, never with a logout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time, or not at all.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It answered with something that is not a record of ours.
    #[error("the store holds a record that can't be read: {0}")]
    Unreadable(&'static str),
    /// It has no room for another session.
    #[error("the store is full: it holds {0} sessions, as many as it may")]
    Full(usize),
    /// It has no memory for what should be written.
    #[error("the store is full: {0}")]
    OutOfMemory(String),
    /// The records keep changing under our hands.
    #[error("the record changed too often while it was being changed")]
    Contended,
}

impl StoreError {
    /// A word for the kind of error, for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unreadable(_) => "unreadable",
            Self::Full(_) | Self::OutOfMemory(_) => "full",
            Self::Contended => "contended",
        }
    }
}
