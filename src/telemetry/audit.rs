//! Audit events: what an auditor asks for later. They go to the log under the target
//! `curfew::audit`, so that a collector can route them, and never hold a credential.

use std::net::IpAddr;

use tracing::{debug, info, warn};

use super::denials::More;
use crate::credential::jwt::Whom;
use crate::events::SessionEnded;
use crate::session::{DenyReason, Session, SessionId, Subject, Timestamp};

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

/// A session ended, by a limit or on purpose. One event a session; a second one says that it is
/// `redelivered`.
pub fn session_ended(ended: &SessionEnded) {
    info!(
        target: TARGET,
        event = "session.ended",
        session = ended.session,
        subject = ended.subject,
        policy = ended.policy,
        reason = ended.reason,
        started = ended.started,
        last_seen = ended.last_seen,
        ended = ended.ended,
        redelivered = ended.redelivered,
        "session ended"
    );
}

/// A session is ended because its subject has signed in again and can have no more.
pub fn session_displaced(id: SessionId, by: SessionId) {
    info!(
        target: TARGET,
        event = "session.displaced",
        session = %id,
        by = %by,
        "session makes room for another"
    );
}

/// All sessions of a subject that started before a time have been ended.
pub fn subject_revoked(subject: &Subject, not_before: Timestamp) {
    info!(
        target: TARGET,
        event = "subject.revoked",
        subject = %subject,
        not_before = %not_before,
        "all sessions of a subject ended"
    );
}

/// An identity provider has told that sessions ended.
pub fn provider_logout(issuer: &str, whom: &Whom, by: &'static str, revoked: usize) {
    info!(
        target: TARGET,
        event = "provider.logout",
        issuer,
        by,
        subject = whom.subject.as_ref().map(tracing::field::display),
        name = %whom.name,
        whole_subject = !whom.one,
        revoked,
        "an identity provider ended sessions"
    );
}

/// Somebody came from an identity provider and was not signed in.
pub fn login_refused(provider: &str, reason: &str, why: &dyn std::fmt::Display) {
    warn!(
        target: TARGET,
        event = "login.refused",
        provider,
        reason,
        why = %why,
        "sign-in refused"
    );
}

/// Somebody came into the console by an identity provider.
pub fn console_entered(subject: &Subject, provider: &str) {
    info!(
        target: TARGET,
        event = "console.entered",
        subject = %subject,
        provider,
        "somebody came into the console"
    );
}

/// Somebody whom an identity provider knows is in no group that may use the console.
pub fn console_refused(subject: &Subject, provider: &str) {
    warn!(
        target: TARGET,
        event = "console.refused",
        subject = %subject,
        provider,
        "somebody is not to use the console"
    );
}

/// A session that had ended was there again, after a fail-over of the store, and was ended again.
pub fn session_came_back(id: SessionId, tombstone: &Session) {
    warn!(
        target: TARGET,
        event = "session.came_back",
        session = %id,
        subject = %tombstone.subject,
        "the store had lost the end of a session; it was ended again"
    );
}

/// A request was allowed although the store could not be asked, as its policy says.
pub fn session_degraded(id: SessionId, session: &Session, contract: &'static str) {
    info!(
        target: TARGET,
        event = "session.degraded",
        session = %id,
        subject = %session.subject,
        policy = %session.policy,
        contract,
        "request allowed without the store"
    );
}

/// A session was used from elsewhere than it is bound to, by its address or its user agent; that
/// request was denied, and the session lives.
pub fn session_elsewhere(
    id: SessionId,
    session: &Session,
    differs: &'static str,
    address: Option<IpAddr>,
) {
    warn!(
        target: TARGET,
        event = "session.elsewhere",
        session = %id,
        subject = %session.subject,
        policy = %session.policy,
        differs,
        bound_to = session.binding.network.map(tracing::field::display),
        address = address.map(tracing::field::display),
        "session used from elsewhere"
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
    /// The rule that applied, by its place in `rules`.
    pub rule: Option<usize>,
    /// The proxy that asked.
    pub peer: Option<IpAddr>,
    /// Which input was wrong, for `malformed_request` and `unknown_host`.
    pub detail: Option<&'a str>,
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
                rule = denied.rule,
                peer = denied.peer.map(tracing::field::display),
                detail = denied.detail,
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

/// More requests were denied in a second, for one reason, than are written one by one. The fields besides
/// `count`, `first` and `last` are those of the first.
pub(super) fn denials_aggregated(more: &More, reason: DenyReason) {
    macro_rules! event {
        ($level:ident) => {
            $level!(
                target: TARGET,
                event = "denials.aggregated",
                reason = %reason,
                count = more.count,
                first = %more.first,
                last = %more.last,
                contract = more.contract,
                host = more.host,
                peer = more.peer.map(tracing::field::display),
                "further requests denied"
            )
        };
    }
    if reason == DenyReason::NoCredential {
        event!(debug);
    } else {
        event!(info);
    }
}

/// Somebody began to record what proxies send.
pub fn recording_started(actor: &str, until: &str) {
    warn!(target: TARGET, event = "recording.started", actor, until, "recording of checks started");
}

/// Somebody read what was recorded, or stopped the recording.
pub fn recording_used(actor: &str, what: &'static str) {
    info!(target: TARGET, event = "recording.used", actor, what, "recording of checks used");
}
