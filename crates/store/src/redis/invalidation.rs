//! Invalidations: a channel on which every process hears that a record has changed.

mod protocol;
mod subscriber;

pub(super) use protocol::Message;
