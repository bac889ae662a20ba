//! Streams that Curfew cut.

use std::net::IpAddr;
use std::time::Duration;

use super::denial::{host_without_port, truncated_path};
use super::{AuditAction, event};
use crate::actor::{Actor, ActorKind};
use crate::session::{DenyReason, SessionId};

/// A stream that Curfew cut.
#[derive(Clone, Copy, Debug)]
pub struct CutStream<'a> {
    /// The session.
    pub session: SessionId,
    /// The subject of the session.
    pub subject: &'a str,
    /// The kind of the stream.
    pub kind: &'static str,
    /// The host of the request that opened the stream.
    pub host: &'a str,
    /// The path of that request, without the query.
    pub path: &'a [u8],
    /// The address of the client, if it is known.
    pub address: Option<IpAddr>,
    /// The reason of the cut.
    pub reason: DenyReason,
    /// How long the stream was open.
    pub open_time: Duration,
    /// The number of bytes from the client, and to the client.
    pub bytes: (u64, u64),
}

/// Records that Curfew cut a stream.
pub fn stream_cut(cut: &CutStream<'_>) {
    let actor = Actor::new(ActorKind::User, cut.subject, cut.address);
    event!(info, AuditAction::StreamCut, "success", &actor, {
        event.reason = cut.reason.as_str(),
        user.id = cut.subject,
        url.domain = host_without_port(cut.host),
        url.path = truncated_path(cut.path),
        curfew.session.id = %cut.session,
        curfew.stream.kind = cut.kind,
        curfew.stream.open_seconds = cut.open_time.as_secs_f64(),
        curfew.stream.bytes_from_client = cut.bytes.0,
        curfew.stream.bytes_to_client = cut.bytes.1,
    }, "stream cut");
}
