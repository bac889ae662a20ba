use super::{DenyReason, Limits, Session, State, Timestamp, Verdict};

/// Decides whether a request on `session` may pass at `now`.
///
/// `home` are the limits of the policy the session was started under, as configured today; they
/// can end it. `request` are the limits of the policy that applies to this request, which may be
/// the same; where they are stricter, the request is denied with `reauthentication_required` and
/// the session lives on elsewhere.
///
/// The absolute limit is tested before the idle limit, and a limit that is reached is passed
/// (`>=`): a session that may be idle for 15 minutes is over when 15 minutes have gone by
/// (PCI DSS 4 8.2.8; NIST SP 800-63B rev 4, 2.2.3).
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
    if is_stale(session, request, now) {
        return Verdict::Deny(DenyReason::ReauthenticationRequired);
    }
    Verdict::Allow
}

/// Whether a live session is too old, too long unused or signed in too long ago for `limits`.
fn is_stale(session: &Session, limits: &Limits, now: Timestamp) -> bool {
    let sign_in = limits
        .max_auth_age
        .map_or(Timestamp::MAX, |age| session.started.plus(age));
    now >= session.absolute_deadline(limits)
        || now >= session.idle_deadline(limits)
        || now >= sign_in
}
