//! Sign-ins with an identity provider and to the console, and calls of the admin API.

use super::{AuditAction, event};
use crate::actor::Actor;
use crate::session::Subject;

/// An interface that requires the credential of an operator or of an API client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminInterface {
    /// The admin API.
    Api,
    /// The console's sign-in.
    Console,
}

impl AdminInterface {
    /// The label value in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
        }
    }
}

/// Records that a sign-in with an identity provider failed.
pub fn login_refused(provider: &str, reason: &str, cause: &dyn std::fmt::Display, actor: &Actor) {
    event!(warn, AuditAction::LoginRefused, "failure", actor, {
        event.reason = reason,
        curfew.provider = provider,
        error.message = cause.to_string(),
    }, "sign-in refused");
}

/// Records that an operator signed in to the console. `provider` is the identity provider, if the operator used one.
pub fn console_entered(provider: Option<&str>, actor: &Actor) {
    event!(info, AuditAction::ConsoleEntered, "success", actor, {
        curfew.provider = provider,
    }, "an operator signed in to the console");
}

/// Records that a sign-in to the console was refused. `provider` and `subject` are set if the operator used an
/// identity provider.
pub fn console_refused(
    reason: &'static str,
    subject: Option<&Subject>,
    provider: Option<&str>,
    actor: &Actor,
) {
    event!(warn, AuditAction::ConsoleRefused, "failure", actor, {
        event.reason = reason,
        user.id = subject.map(Subject::as_str),
        curfew.provider = provider,
    }, "sign-in to the console refused");
}

/// Records that a credential for the admin API was refused.
pub fn access_refused(reason: &'static str, method: &str, path: &str, actor: &Actor) {
    event!(warn, AuditAction::AdminUnauthenticated, "failure", actor, {
        event.reason = reason,
        url.path = path,
        http.request.method = method,
    }, "credential for the admin API refused");
}

/// Records that a Kubernetes user used the admin API for the sessions of `subject`, or of all subjects if `subject`
/// is `None`.
pub fn admin_allowed(verb: &str, subject: Option<&str>, actor: &Actor) {
    event!(info, AuditAction::AdminAllowed, "success", actor, {
        user.id = subject,
        curfew.admin.verb = verb,
    }, "admin request allowed");
}

/// Records that the actor lacks a right for the sessions of `subject`, or of all subjects if `subject` is `None`.
pub fn admin_refused(verb: &str, subject: Option<&str>, actor: &Actor) {
    event!(warn, AuditAction::AdminRefused, "failure", actor, {
        user.id = subject,
        curfew.admin.verb = verb,
    }, "admin request refused");
}

/// Records that the actor started a recording, which is a copy of the checks that proxies send.
pub fn recording_started(until: &str, actor: &Actor) {
    event!(warn, AuditAction::RecordingStarted, "success", actor, {
        curfew.recording.until = until,
    }, "recording of checks started");
}

/// Records that the actor read or stopped the recording of checks; `what` is `read` or `stopped`.
pub fn recording_used(what: &'static str, actor: &Actor) {
    event!(info, AuditAction::RecordingUsed, "success", actor, {
        curfew.recording.used = what,
    }, "recording of checks used");
}
