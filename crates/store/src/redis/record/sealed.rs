//! Sealed records (version 3). They are encrypted and authenticated. A person who can read Redis cannot read their
//! content. A person who can write to Redis can neither forge a record nor copy the record of one session to another
//! session.
//!
//! The header contains the version and two bytes of the session ID. It is not encrypted, but authenticated. With the
//! two bytes, Curfew can distinguish a reply to another request from a record that somebody changed. Pipelined
//! clients had bugs that assigned a reply to the wrong request (redis-py CVE-2023-28858).
//!
//! Optional parts are numbered fields. A field with an even number restricts the session, so a program that does not
//! support the field rejects the record. But a program ignores unknown fields with odd numbers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::MISPLACED;
use crate::StoreError;
use crate::credential::{KeyRing, SealContext, UnsealError};
use crate::secret::Secret;
use crate::session::{
    Attributes, Binding, CLOCK_MARGIN, ClaimsInToken, Details, End, EndReason, Network, PolicyName,
    Registration, Revalidation, Session, SessionId, State, Subject, Timestamp, UserAgentHash,
};

/// The version of these records.
pub(super) const VERSION: u8 = 3;

/// Bytes of the session ID in the header.
const ID_PREFIX_BYTES: usize = 2;
/// Bytes before the sealed part.
pub(super) const HEADER_BYTES: usize = 1 + ID_PREFIX_BYTES;

/// The state byte of a live session. [`state_code`] returns the state byte of a tombstone.
const LIVE: u8 = 0;
/// The bit of the state byte that is set if the retention includes [`CLOCK_MARGIN`].
const HAS_MARGIN: u8 = 0x80;

/// The encrypted part of a record. Times and durations are in milliseconds.
#[derive(Serialize, Deserialize)]
struct RecordBody<'a> {
    state: u8,
    started: u64,
    /// The time from the start to the deadline.
    lifetime: u64,
    retention: u64,
    policy: &'a str,
    subject: &'a str,
    #[serde(borrow)]
    attributes: Vec<(&'a str, Vec<&'a str>)>,
    /// The times of the last activity and of the session end; only in a tombstone.
    ended: Option<(u64, u64)>,
    #[serde(borrow)]
    fields: Vec<(u8, &'a [u8])>,
}

/// The numbers of fields.
mod field {
    pub(super) const ADDRESS: u8 = 1;
    pub(super) const REMEMBERED: u8 = 2;
    pub(super) const USER_AGENT: u8 = 3;
    pub(super) const BOUND_NETWORK: u8 = 4;
    pub(super) const HOST: u8 = 5;
    pub(super) const BOUND_USER_AGENT: u8 = 6;
    pub(super) const AUTH_TIME: u8 = 7;
    pub(super) const PROVIDER_SESSION: u8 = 9;
    pub(super) const SERVICE_KIND: u8 = 11;
    pub(super) const SERVICE_NAME: u8 = 13;
    pub(super) const HOME_REGION: u8 = 15;
    pub(super) const REFRESH_TOKEN: u8 = 17;
    pub(super) const ENDED_BY: u8 = 19;
    pub(super) const REVALIDATION: u8 = 21;
}

/// Returns the state byte of a tombstone.
const fn state_code(reason: EndReason) -> u8 {
    match reason {
        EndReason::IdleTimeout => 1,
        EndReason::AbsoluteTimeout => 2,
        EndReason::Revoked => 3,
        EndReason::SignedOut => 4,
    }
}

const fn seal_context(id: &SessionId) -> SealContext<'_> {
    SealContext {
        purpose: "record 3",
        name: id.as_bytes(),
    }
}

/// Encodes and seals a session.
///
/// # Errors
/// [`StoreError::Unavailable`] if the operating system returns no random numbers.
pub(super) fn encode(
    id: SessionId,
    session: &Session,
    key_ring: &KeyRing,
) -> Result<Vec<u8>, StoreError> {
    let (state, ended) = match session.state {
        State::Live => (LIVE, None),
        State::Ended(end) => {
            let last_seen = session.last_seen.as_millis();
            (
                state_code(end.reason),
                Some((last_seen, end.at.as_millis())),
            )
        }
    };
    let margin = if session.margin == CLOCK_MARGIN {
        HAS_MARGIN
    } else {
        0
    };
    let fields = Fields::from_session(session);
    let attributes = session.attributes.iter();
    let body = RecordBody {
        state: state | margin,
        started: session.started.as_millis(),
        lifetime: millis(session.deadline.since(session.started)),
        retention: millis(session.retention),
        policy: session.policy.as_str(),
        subject: session.subject.as_str(),
        attributes: attributes
            .map(|(name, values)| (name, values.collect()))
            .collect(),
        ended,
        fields: fields
            .0
            .iter()
            .map(|(number, bytes)| (*number, bytes.as_slice()))
            .collect(),
    };
    // Serialization into memory does not fail. If it did, readers would reject the empty record.
    let plain = postcard::to_stdvec(&body).unwrap_or_default();
    let mut header = [VERSION; HEADER_BYTES];
    header[1..].copy_from_slice(&id.as_bytes()[..ID_PREFIX_BYTES]);
    key_ring
        .encrypt(seal_context(&id), &header, &plain)
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Opens and decodes the record of a session. `expiry` is the expiry of its key.
///
/// # Errors
/// [`StoreError::Unreadable`] for a record that [`encode`] did not write with a key of the ring, and [`MISPLACED`]
/// for the record of another session.
pub(super) fn decode(
    id: SessionId,
    bytes: &[u8],
    expiry: Timestamp,
    key_ring: &KeyRing,
) -> Result<Session, StoreError> {
    match bytes.get(1..HEADER_BYTES) {
        None => return Err(StoreError::Unreadable("it is too short")),
        Some(tag) if tag != &id.as_bytes()[..ID_PREFIX_BYTES] => return Err(MISPLACED),
        Some(_) => {}
    }
    let plain = key_ring
        .decrypt(seal_context(&id), HEADER_BYTES, bytes)
        .map_err(|error| match error {
            UnsealError::UnknownKey => {
                StoreError::Unreadable("it is sealed with a key that is not in token.keys")
            }
            UnsealError::Forged => StoreError::Unreadable("it was changed outside of Curfew"),
        })?;
    let damaged = |_| StoreError::Unreadable("it is damaged");
    let body: RecordBody<'_> = postcard::from_bytes(&plain).map_err(damaged)?;
    let invalid_name = || StoreError::Unreadable("it contains an invalid name");
    let retention = Duration::from_millis(body.retention);
    let started = Timestamp::from_millis(body.started);
    let (last_seen, state) = match (body.state & !HAS_MARGIN, body.ended) {
        (LIVE, None) => (expiry.minus(retention), State::Live),
        (state, Some((last_seen, at))) => {
            let mut reasons = EndReason::ALL.into_iter();
            let reason = reasons.find(|reason| state_code(*reason) == state);
            let reason = reason.ok_or(StoreError::Unreadable("its state is unknown"))?;
            let end = End {
                reason,
                at: Timestamp::from_millis(at),
            };
            (Timestamp::from_millis(last_seen), State::Ended(end))
        }
        _ => {
            return Err(StoreError::Unreadable(
                "it lacks the time of the session end",
            ));
        }
    };
    let mut session = Session {
        subject: Subject::new(body.subject).map_err(|_| invalid_name())?,
        attributes: Attributes::from_sorted(body.attributes).map_err(|_| invalid_name())?,
        policy: PolicyName::new(body.policy).map_err(|_| invalid_name())?,
        remembered: false,
        binding: Binding::default(),
        started,
        last_seen,
        deadline: started.plus(Duration::from_millis(body.lifetime)),
        retention,
        margin: if body.state & HAS_MARGIN == 0 {
            Duration::ZERO
        } else {
            CLOCK_MARGIN
        },
        details: None,
        state,
    };
    read_fields(&mut session, &body.fields)?;
    Ok(session)
}

/// The optional fields of a session.
struct Fields(Vec<(u8, Vec<u8>)>);

impl Fields {
    fn from_session(session: &Session) -> Self {
        let mut fields = Self(Vec::new());
        let binding = session.binding;
        fields.put(field::REMEMBERED, session.remembered.then_some(()));
        let network = binding.network;
        let network = network.map(|network| (network.address(), network.bits()));
        fields.put(field::BOUND_NETWORK, network);
        let user_agent = binding.user_agent;
        fields.put(
            field::BOUND_USER_AGENT,
            user_agent.map(|hash| *hash.as_bytes()),
        );
        if let Some(details) = session.details.as_deref() {
            fields.put(field::ADDRESS, details.address);
            fields.put(field::USER_AGENT, details.user_agent.as_deref());
            fields.put(field::HOST, details.host.as_deref());
            fields.put(
                field::AUTH_TIME,
                details.auth_time.map(Timestamp::as_millis),
            );
            fields.put(field::PROVIDER_SESSION, details.provider_session.as_deref());
            fields.put(field::SERVICE_KIND, details.service_kind.as_deref());
            fields.put(field::SERVICE_NAME, details.service_name.as_deref());
            fields.put(field::HOME_REGION, details.home_region.as_deref());
            let token = details.refresh_token.as_ref();
            fields.put(
                field::REFRESH_TOKEN,
                token.map(|token| token.expose().as_str()),
            );
            fields.put(field::ENDED_BY, details.ended_by.as_deref());
            let revalidation = details.revalidation.map(|it| {
                let times = (it.confirmed.as_millis(), it.leased_until.as_millis());
                (*it.registration.as_bytes(), times, it.in_id_token.to_bits())
            });
            fields.put(field::REVALIDATION, revalidation);
        }
        fields
    }

    fn put(&mut self, number: u8, value: Option<impl Serialize>) {
        if let Some(bytes) = value.and_then(|value| postcard::to_stdvec(&value).ok()) {
            self.0.push((number, bytes));
        }
    }
}

fn read_fields(session: &mut Session, fields: &[(u8, &[u8])]) -> Result<(), StoreError> {
    let mut details = Details::default();
    let text = |bytes| Ok::<_, StoreError>(Some(Arc::from(decode_value::<&str>(bytes)?)));
    for (number, bytes) in fields {
        match *number {
            field::REMEMBERED => session.remembered = true,
            field::BOUND_NETWORK => {
                let (address, bits): (IpAddr, u8) = decode_value(bytes)?;
                session.binding.network = Some(Network::of(address, bits));
            }
            field::BOUND_USER_AGENT => {
                let hash: [u8; UserAgentHash::LEN] = decode_value(bytes)?;
                session.binding.user_agent = Some(UserAgentHash::from_bytes(hash));
            }
            field::ADDRESS => details.address = Some(decode_value(bytes)?),
            field::USER_AGENT => details.user_agent = text(bytes)?,
            field::HOST => details.host = text(bytes)?,
            field::AUTH_TIME => {
                details.auth_time = Some(Timestamp::from_millis(decode_value(bytes)?))
            }
            field::PROVIDER_SESSION => details.provider_session = text(bytes)?,
            field::SERVICE_KIND => details.service_kind = text(bytes)?,
            field::SERVICE_NAME => details.service_name = text(bytes)?,
            field::HOME_REGION => details.home_region = text(bytes)?,
            field::REFRESH_TOKEN => {
                details.refresh_token = Some(Secret::new(decode_value::<String>(bytes)?));
            }
            field::ENDED_BY => details.ended_by = text(bytes)?,
            field::REVALIDATION => {
                let (registration, (confirmed, leased_until), claims) = decode_value(bytes)?;
                details.revalidation = Some(Revalidation {
                    registration: Registration::from_bytes(registration),
                    confirmed: Timestamp::from_millis(confirmed),
                    leased_until: Timestamp::from_millis(leased_until),
                    in_id_token: ClaimsInToken::from_bits(claims),
                });
            }
            unknown if unknown.is_multiple_of(2) => {
                return Err(StoreError::Unreadable(
                    "it has an unknown field that restricts the session",
                ));
            }
            _ => {}
        }
    }
    if details != Details::default() {
        session.details = Some(Arc::new(details));
    }
    Ok(())
}

fn decode_value<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Unreadable("it is damaged"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
