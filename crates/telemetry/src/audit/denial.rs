//! Denied requests.

use std::net::IpAddr;

use super::{AuditAction, event};
use crate::actor::{Actor, ActorKind};
use crate::denials::AggregatedDenials;
use crate::session::{DenyReason, SessionId};

/// Maximum bytes of a path in an event. A longer path is truncated.
const MAX_PATH_BYTES: usize = 1024;

/// The known properties of a denied request. Unknown properties are `None`.
#[derive(Clone, Copy, Debug)]
pub struct DeniedRequest<'a> {
    /// The contract (the protocol of the proxy) of the check.
    pub contract: &'static str,
    /// The session ID, if Curfew verified the credential.
    pub session: Option<SessionId>,
    /// The subject, if the session was found.
    pub subject: Option<&'a str>,
    /// The address of the client, if the proxy sent it.
    pub address: Option<IpAddr>,
    /// The host of the denied request, if it is valid.
    pub host: Option<&'a str>,
    /// The path of the denied request, without the query.
    pub path: Option<&'a [u8]>,
    /// The method of the denied request.
    pub method: Option<&'a str>,
    /// The index in `rules` of the rule that matched.
    pub rule: Option<usize>,
    /// The address of the proxy.
    pub peer: Option<IpAddr>,
    /// The text for the audit field `curfew.detail`: the cause of the denial, such as a missing check input.
    pub detail: Option<&'a str>,
}

impl DeniedRequest<'_> {
    /// Returns the subject of the session, or an anonymous actor.
    fn actor(&self) -> Actor {
        match self.subject {
            Some(subject) => Actor::new(ActorKind::User, subject, self.address),
            None => Actor::anonymous(self.address),
        }
    }
}

/// Records that a request was denied. The denial of a request without a credential is logged only at `debug`.
pub fn session_denied(denied: &DeniedRequest<'_>, reason: DenyReason) {
    macro_rules! write_at {
        ($level:ident) => {
            event!($level, AuditAction::SessionDenied, "failure", &denied.actor(), {
                event.reason = reason.as_str(),
                user.id = denied.subject,
                url.domain = denied.host.map(host_without_port),
                url.path = denied.path.map(truncated_path),
                http.request.method = denied.method,
                curfew.session.id = denied.session.map(tracing::field::display),
                curfew.contract = denied.contract,
                curfew.rule = denied.rule,
                curfew.proxy.ip = denied.peer.map(tracing::field::display),
                curfew.detail = denied.detail,
            }, "request denied")
        };
    }
    if reason == DenyReason::NoCredential {
        write_at!(debug);
    } else {
        write_at!(info);
    }
}

/// Records all denials of one second that have no event of their own. The count and the times describe all these
/// denials; the other fields describe the first of them. `is_genuine` is true if the requests had a genuine credential.
pub(crate) fn denials_aggregated(
    aggregated: &AggregatedDenials,
    reason: DenyReason,
    is_genuine: bool,
) {
    // The requests may come from many clients, so the actor has no name and no address.
    let actor = Actor {
        kind: if is_genuine {
            ActorKind::User
        } else {
            ActorKind::Anonymous
        },
        name: None,
        address: None,
    };
    macro_rules! write_at {
        ($level:ident) => {
            event!($level, AuditAction::DenialsAggregated, "failure", &actor, {
                event.reason = reason.as_str(),
                url.domain = aggregated.host.as_deref().map(host_without_port),
                curfew.denials.count = aggregated.count,
                curfew.denials.first = %aggregated.first,
                curfew.denials.last = %aggregated.last,
                curfew.contract = aggregated.contract,
                curfew.proxy.ip = aggregated.peer.map(tracing::field::display),
            }, "further requests denied, counted in this event")
        };
    }
    if reason == DenyReason::NoCredential {
        write_at!(debug);
    } else {
        write_at!(info);
    }
}

/// Returns a host without its port.
pub(super) fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}

/// Returns a path as text, truncated to [`MAX_PATH_BYTES`].
pub(super) fn truncated_path(path: &[u8]) -> String {
    let path = &path[..path.len().min(MAX_PATH_BYTES)];
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_no_port_and_a_long_path_is_cut() {
        for (host, expected) in [
            ("app.example.com", "app.example.com"),
            ("app.example.com:8443", "app.example.com"),
            ("[2001:db8::7]:443", "[2001:db8::7]"),
            ("[2001:db8::7]", "[2001:db8::7]"),
        ] {
            assert_eq!(host_without_port(host), expected);
        }
        assert_eq!(truncated_path(&[b'a'; 2000]).len(), MAX_PATH_BYTES);
        assert_eq!(truncated_path(b"/a"), "/a");
    }
}
