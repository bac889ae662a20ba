//! Invalidations: messages on a channel that tell every process which record has changed.

mod protocol;
mod subscriber;

pub(super) use protocol::Message;
