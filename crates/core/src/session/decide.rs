use super::{DenyReason, Limits, Session, State, Timestamp, Verdict};

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
    if let State::Ended(end) = session.state {
        return Verdict::Deny(end.reason.denial());
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

/// Whether a live session has reached the absolute limit, the idle limit or the step-up limit in `limits`.
fn has_reached_limit(session: &Session, limits: &Limits, now: Timestamp) -> bool {
    let step_up_deadline = limits
        .max_auth_age
        .map_or(Timestamp::MAX, |age| session.started.plus(age));
    now >= session.absolute_deadline(limits)
        || now >= session.idle_deadline(limits)
        || now >= step_up_deadline
}
