//! Audit events: what an auditor asks for later. They go to the log under the target
//! `curfew::audit`, so that a collector can route them, and never hold a credential.

use std::net::IpAddr;

use tracing::{debug, info};

use crate::session::{DenyReason, EndReason, Session, SessionId};

/// The tracing target of every audit event.
pub const TARGET: &str = "curfew::audit";

/// A session was started.
pub fn session_created(id: SessionId, session: &Session) {
    info!(
        target: TARGET,
        event = "session.created",
        session = %id,
        subject = %session.subject,
        policy = %session.policy,
        deadline = %session.deadline,
        "session created"
    );
}

/// A session ended, by a limit (`session.ended`) or on purpose (`session.revoked`).
pub fn session_ended(id: SessionId, session: &Session, reason: EndReason) {
    let event = match reason {
        EndReason::Revoked => "session.revoked",
        EndReason::IdleTimeout | EndReason::AbsoluteTimeout => "session.ended",
    };
    info!(
        target: TARGET,
        event,
        session = %id,
        subject = %session.subject,
        policy = %session.policy,
        reason = %reason,
        started = %session.started,
        last_seen = %session.last_seen,
        "session ended"
    );
}

/// What is known of a request that was denied.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// The contract it came by.
    pub contract: &'static str,
    /// The session, where one was named by a genuine credential.
    pub session: Option<SessionId>,
    /// The subject, where the session was found.
    pub subject: Option<&'a str>,
    /// The host of the original request, where it was understood.
    pub host: Option<&'a str>,
    /// The proxy that asked.
    pub peer: Option<IpAddr>,
}

/// A request was denied. One that presents no credential concerns no session and is told at
/// `debug` only.
pub fn session_denied(denied: &Denied<'_>, reason: DenyReason) {
    macro_rules! event {
        ($level:ident) => {
            $level!(
                target: TARGET,
                event = "session.denied",
                reason = %reason,
                contract = denied.contract,
                session = denied.session.map(tracing::field::display),
                subject = denied.subject,
                host = denied.host,
                peer = denied.peer.map(tracing::field::display),
                "request denied"
            )
        };
    }
    if reason == DenyReason::NoCredential {
        event!(debug);
    } else {
        event!(info);
    }
}
