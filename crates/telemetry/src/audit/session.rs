//! Starts, ends and changes of sessions.

use std::net::IpAddr;
use std::time::Duration;

use super::{AuditAction, event};
use crate::actor::Actor;
use crate::credential::jwt::LogoutTarget;
use crate::events::SessionEnded;
use crate::revocation::RevocationRule;
use crate::session::{Session, SessionId, Subject, Timestamp};

/// Records that a session was started.
pub fn session_created(id: SessionId, session: &Session, actor: &Actor) {
    event!(info, AuditAction::SessionCreated, "success", actor, {
        user.id = session.user_id(),
        curfew.session.id = %id,
        curfew.session.deadline = %session.deadline,
        curfew.policy = session.policy.as_str(),
    }, "session created");
}

/// Records that a session ended. Normally, each session has one such event. If the process that ended the session stops
/// before it acknowledges the end, another process writes an event with `curfew.redelivered`.
pub fn session_ended(ended: &SessionEnded, actor: &Actor) {
    event!(info, AuditAction::SessionEnded, "success", actor, {
        event.reason = ended.reason,
        user.id = ended.subject,
        curfew.session.id = ended.session,
        curfew.session.started = ended.started,
        curfew.session.last_seen = ended.last_seen,
        curfew.session.ended = ended.ended,
        curfew.policy = ended.policy,
        curfew.redelivered = ended.redelivered,
    }, "session ended");
}

/// Records that an identity provider, which is the actor, sent new attributes for a session.
pub fn session_changed(id: SessionId, before: &Session, now: &Session, actor: &Actor) {
    let (old, new) = (before.attributes.to_map(), now.attributes.to_map());
    let mut names: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| old.get(*name) != new.get(*name));
    event!(info, AuditAction::SessionChanged, "success", actor, {
        user.id = now.user_id(),
        curfew.session.id = %id,
        curfew.session.changed = names.join(","),
        curfew.policy = now.policy.as_str(),
    }, "session attributes changed");
}

/// Records that Curfew ended a session because an identity provider, which is the actor, no longer confirms it.
pub fn provider_refused(
    id: SessionId,
    session: &Session,
    provider: &str,
    reason: &'static str,
    actor: &Actor,
) {
    event!(info, AuditAction::ProviderRefused, "success", actor, {
        event.reason = reason,
        user.id = session.user_id(),
        curfew.session.id = %id,
        curfew.provider = provider,
    }, "session not confirmed by the identity provider");
}

/// Records that a session ended because its subject signed in again and exceeded `max_sessions`. `by` is the ID of
/// the new session.
pub fn session_displaced(id: SessionId, subject: &Subject, by: SessionId, actor: &Actor) {
    event!(info, AuditAction::SessionDisplaced, "success", actor, {
        user.id = subject.as_str(),
        curfew.session.id = %id,
        curfew.session.displaced_by = %by,
    }, "session ended by the session limit");
}

/// Records that all sessions of a subject that started before the time `not_before` were ended.
pub fn subject_revoked(subject: &Subject, not_before: Timestamp, actor: &Actor) {
    event!(info, AuditAction::SubjectRevoked, "success", actor, {
        user.id = subject.as_str(),
        curfew.not_before = %not_before,
    }, "all sessions of a subject ended");
}

/// Records that an identity provider, which is the actor, ended sessions with a notice (a logout token or a security
/// event) over `channel`. `revoked` is the number of sessions.
pub fn provider_logout(
    target: &LogoutTarget,
    channel: &'static str,
    revoked: usize,
    actor: &Actor,
) {
    event!(info, AuditAction::ProviderLogout, "success", actor, {
        user.id = target.subject.as_ref().map(Subject::as_str),
        curfew.logout.channel = channel,
        curfew.logout.name = %target.name,
        curfew.logout.whole_subject = !target.is_single_session,
        curfew.logout.revoked = revoked,
    }, "sessions ended by the identity provider");
}

/// Records that an emergency revocation was declared. The revocation is in force on every replica that has read it.
pub fn revocation_declared(rule: &RevocationRule, actor: &Actor) {
    event!(warn, AuditAction::RevocationDeclared, "success", actor, {
        curfew.not_before = %rule.before,
        curfew.revocation.conditions = rule.conditions.to_string(),
    }, "emergency revocation declared");
}

/// Records that the sessions of an emergency revocation were ended one by one. `complete` is false if a store error
/// stopped this work before its end.
pub fn revocation_finished(rule: &RevocationRule, ended: usize, complete: bool, actor: &Actor) {
    event!(info, AuditAction::RevocationFinished, "success", actor, {
        curfew.not_before = %rule.before,
        curfew.revocation.conditions = rule.conditions.to_string(),
        curfew.revocation.ended = ended,
        curfew.revocation.complete = complete,
    }, "sessions of an emergency revocation ended");
}

/// Records that an ended session was live again after a fail-over of the store, and that Curfew ended it again.
pub fn session_end_restored(id: SessionId, tombstone: &Session) {
    event!(warn, AuditAction::SessionEndRestored, "success", &Actor::CURFEW, {
        user.id = tombstone.subject.as_str(),
        curfew.session.id = %id,
    }, "lost session end written again");
}

/// Records that a caller of the admin API moved the times of a session back. Only test installations allow this.
pub fn session_aged(id: SessionId, session: &Session, by: Duration, actor: &Actor) {
    event!(warn, AuditAction::SessionAged, "success", actor, {
        user.id = session.user_id(),
        curfew.session.id = %id,
        curfew.session.aged_by = humantime::format_duration(by).to_string(),
    }, "times of a session moved back");
}

/// Records that a request was allowed while the store was unavailable. Its policy has `on_store_failure: known`.
pub fn session_degraded(
    id: SessionId,
    session: &Session,
    contract: &'static str,
    address: Option<IpAddr>,
) {
    let actor = Actor::user(&session.subject, address);
    event!(info, AuditAction::SessionDegraded, "success", &actor, {
        user.id = session.subject.as_str(),
        curfew.session.id = %id,
        curfew.policy = session.policy.as_str(),
        curfew.contract = contract,
    }, "request allowed without the store");
}

/// Records that a bound session was used from another address or user agent. The request was denied, and the session
/// is still live.
pub fn session_binding_mismatch(
    id: SessionId,
    session: &Session,
    differs: &'static str,
    address: Option<IpAddr>,
) {
    // The actor is anonymous, because the client may not be the subject.
    event!(warn, AuditAction::SessionBindingMismatch, "failure", &Actor::anonymous(address), {
        event.reason = differs,
        user.id = session.subject.as_str(),
        curfew.session.id = %id,
        curfew.session.bound_to = session.binding.network.map(tracing::field::display),
        curfew.policy = session.policy.as_str(),
    }, "bound session used from another client");
}
