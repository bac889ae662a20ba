//! Audit events. They are log lines with the target `curfew::audit`, so that a collector can route them. They never
//! contain a credential.
//!
//! A field has its name from the Elastic Common Schema, if this schema has such a field. Curfew's own fields begin with
//! `curfew.`. `docs/observability.md` lists all fields, and a test compares the list with the events.

mod access;
mod action;
mod denial;
mod policy;
mod session;
mod stream;

pub use access::{
    AdminInterface, access_refused, admin_allowed, admin_refused, console_entered, console_refused,
    login_refused, recording_started, recording_used,
};
pub use action::AuditAction;
pub(super) use denial::denials_aggregated;
pub use denial::{DeniedRequest, session_denied};
pub use policy::policy_changed;
pub use session::{
    provider_logout, provider_refused, revocation_declared, revocation_finished, session_aged,
    session_binding_mismatch, session_changed, session_created, session_degraded,
    session_displaced, session_end_restored, session_ended, subject_revoked,
};

pub use stream::{CutStream, stream_cut};

/// The tracing target of every audit event.
pub const TARGET: &str = "curfew::audit";

/// Writes an audit event. Adds the fields that every event has: the action, the outcome and the actor.
///
/// The macro passes texts as strings, so that the human log format quotes them and escapes control characters.
macro_rules! event {
    ($level:ident, $action:expr, $outcome:literal, $actor:expr, { $($fields:tt)* }, $message:literal) => {{
        let actor: &$crate::actor::Actor = $actor;
        tracing::$level!(
            target: $crate::audit::TARGET,
            {
                event.action = $action.as_str(),
                event.outcome = $outcome,
                curfew.actor.kind = actor.kind.as_str(),
                curfew.actor.name = actor.name.as_deref(),
                source.ip = actor.address.map(tracing::field::display),
                $($fields)*
            },
            $message
        );
    }};
}

use event;

#[cfg(test)]
mod tests;
