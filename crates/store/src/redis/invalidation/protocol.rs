//! Messages on the channel for invalidations.

use crate::session::{SessionId, Timestamp};
use crate::telemetry::Replica;

const INVALIDATION: u8 = b'e';
const HEARTBEAT: u8 = b'b';
const INTRODUCTION: u8 = b'i';
const CUT_OFFS: u8 = b'c';
/// Bytes of the random ID that identifies a subscription in its heartbeats.
pub(in crate::redis) const SUBSCRIPTION_ID_BYTES: usize = 8;

/// A message on the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::redis) enum Message {
    /// The record of a session changed at this time, in decision time (the common time of all replicas).
    Invalidation(SessionId, Timestamp),
    Heartbeat(Heartbeat),
    /// A replica announces that it is running. The message contains the fields of [`Replica`] as JSON.
    Introduction(Replica),
    /// The cut-offs or the emergency revocations have changed.
    CutOffs,
}

/// A message that a process sends to itself, to verify that messages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct Heartbeat {
    /// The ID of the subscription that sent this heartbeat. A new subscription has another ID.
    pub(in crate::redis) subscription: [u8; SUBSCRIPTION_ID_BYTES],
    /// The index of the primary on which this process published the heartbeat.
    pub(in crate::redis) server: u16,
    /// The sequence number of the round. In one round, a process sends one heartbeat to each primary.
    pub(in crate::redis) number: u64,
}

impl Message {
    pub(in crate::redis) fn encode(&self) -> Vec<u8> {
        match self {
            Self::CutOffs => vec![CUT_OFFS],
            Self::Introduction(replica) => {
                let json = serde_json::to_vec(replica).unwrap_or_default();
                [&[INTRODUCTION][..], &json].concat()
            }
            Self::Invalidation(id, at) => [
                &[INVALIDATION][..],
                id.as_bytes(),
                &at.as_millis().to_be_bytes(),
            ]
            .concat(),
            Self::Heartbeat(heartbeat) => [
                &[HEARTBEAT][..],
                &heartbeat.subscription,
                &heartbeat.server.to_be_bytes(),
                &heartbeat.number.to_be_bytes(),
            ]
            .concat(),
        }
    }

    /// Decodes a message. Returns `None` if the format is unknown.
    pub(in crate::redis) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            INVALIDATION => {
                let (id, at) = rest.split_first_chunk()?;
                let at = u64::from_be_bytes(at.try_into().ok()?);
                let at = Timestamp::from_millis(at);
                Some(Self::Invalidation(SessionId::from_bytes(*id), at))
            }
            HEARTBEAT => {
                let (subscription, rest) = rest.split_first_chunk()?;
                let (server, number) = rest.split_first_chunk()?;
                Some(Self::Heartbeat(Heartbeat {
                    subscription: *subscription,
                    server: u16::from_be_bytes(*server),
                    number: u64::from_be_bytes(number.try_into().ok()?),
                }))
            }
            CUT_OFFS => rest.is_empty().then_some(Self::CutOffs),
            INTRODUCTION => serde_json::from_slice(rest).ok().map(Self::Introduction),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    #[test]
    fn decodes_encoded_messages() {
        let id = SessionId::from_bytes(*b"0123456789abcdef");
        let heartbeat = Heartbeat {
            subscription: *b"listener",
            server: 258,
            number: 7,
        };
        let replica = Message::Introduction(Replica::this(START));
        for message in [
            Message::Invalidation(id, START),
            Message::Heartbeat(heartbeat),
            Message::CutOffs,
            replica,
        ] {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Some(message));
            assert_eq!(Message::decode(&[&bytes[..], b"x"].concat()), None);
            for length in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..length]), None);
            }
        }
        assert_eq!(Message::decode(b"x"), None);
    }
}
