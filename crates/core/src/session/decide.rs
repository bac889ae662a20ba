use std::time::Duration;

use super::{DenyReason, Limits, Session, Timestamp, Verdict};

/// Decides whether a request with `session` is allowed at `now`.
///
/// `home` contains the current limits of the session's home policy, which was fixed at sign-in. Only these limits can
/// end the session. `request` contains the limits of the policy that applies to this request, which is often the home
/// policy, too. If only a limit in `request` is reached, the request is denied with `reauthentication_required`, and
/// the session stays alive.
///
/// The absolute limit is tested before the idle limit. A limit is inclusive (`>=`): with an idle limit of 15 minutes,
/// a request exactly 15 minutes after the last activity is denied (PCI DSS 4 8.2.8; NIST SP 800-63B rev 4, 2.2.3).
#[must_use]
pub fn decide(
    session: Option<&Session>,
    home: &Limits,
    request: &Limits,
    now: Timestamp,
) -> Verdict {
    let Some(session) = session else {
        return Verdict::Deny(DenyReason::UnknownSession);
    };
    if let Some(reason) = session.state.denial() {
        return Verdict::Deny(reason);
    }
    if now >= session.absolute_deadline(home) {
        return Verdict::Deny(DenyReason::AbsoluteTimeout);
    }
    if now >= session.idle_deadline(home) {
        return Verdict::Deny(DenyReason::IdleTimeout);
    }
    if has_reached_limit(session, request, now) {
        return Verdict::Deny(DenyReason::ReauthenticationRequired);
    }
    Verdict::Allow
}

/// The time from which [`decide`] denies a request with this live session, if no activity follows.
#[must_use]
pub fn allowed_until(session: &Session, home: &Limits, request: &Limits) -> Timestamp {
    first_limit(session, home, None).min(first_limit(session, request, request.max_auth_age))
}

/// Whether a live session has reached the absolute limit, the idle limit or the step-up limit in `limits`.
fn has_reached_limit(session: &Session, limits: &Limits, now: Timestamp) -> bool {
    now >= first_limit(session, limits, limits.max_auth_age)
}

/// When a live session reaches the first of the absolute limit, the idle limit and `max_auth_age`.
fn first_limit(session: &Session, limits: &Limits, max_auth_age: Option<Duration>) -> Timestamp {
    let step_up_deadline = max_auth_age.map_or(Timestamp::MAX, |age| session.started.plus(age));
    session
        .absolute_deadline(limits)
        .min(session.idle_deadline(limits))
        .min(step_up_deadline)
}
