/// Why a store operation failed. An error does not show whether the session is valid, so Curfew answers the check with
/// `store_unavailable`, and does not end the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer in time, or answered with an error.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The stored value is not a valid record.
    #[error("unreadable record in the store: {0}")]
    Unreadable(&'static str),
    /// The store has reached its limit for the number of sessions.
    #[error("the store is full: limit of {0} sessions reached (store.max_sessions)")]
    Full(usize),
    /// The store has no free memory for the write.
    #[error("the store is full: {0}")]
    OutOfMemory(String),
    /// Other writers changed the record during every attempt.
    #[error("the session record changed during every attempt to write it")]
    Contended,
}

impl StoreError {
    /// Returns the kind of error, as a metric label.
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
