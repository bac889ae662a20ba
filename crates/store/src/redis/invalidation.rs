//! Invalidations: messages about changed records, on a Redis channel to which every process subscribes.

mod protocol;
mod subscriber;

pub(super) use protocol::Message;
