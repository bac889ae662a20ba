use crate::store::redis::fuzzing;

/// A record that can be read can be written again, and is read the same then.
pub(super) fn record(data: &[u8]) {
    fuzzing::record(data);
}

/// What is heard on the channel on which ends are told.
pub(super) fn message(data: &[u8]) {
    fuzzing::message(data);
}

/// What a server answers to a question for a session, in either version of its protocol.
pub(super) fn redis_reply(data: &[u8]) {
    fuzzing::reply(data);
}
