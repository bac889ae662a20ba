//! Requests that were denied.

use std::net::IpAddr;

use super::{Action, event};
use crate::actor::{Actor, ActorKind};
use crate::denials::More;
use crate::session::{DenyReason, SessionId};

/// The most bytes of a path that an event has.
const MAX_PATH_BYTES: usize = 1024;

/// What is known of a request that was denied.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// The contract it came by.
    pub contract: &'static str,
    /// The session, where one was named by a genuine credential.
    pub session: Option<SessionId>,
    /// The subject, where the session was found.
    pub subject: Option<&'a str>,
    /// The address of the client, where the proxy told it.
    pub address: Option<IpAddr>,
    /// The host of the original request, where it was understood.
    pub host: Option<&'a str>,
    /// Its path, without the query.
    pub path: Option<&'a [u8]>,
    /// Its method.
    pub method: Option<&'a str>,
    /// The rule that applied, by its place in `rules`.
    pub rule: Option<usize>,
    /// The proxy that asked.
    pub peer: Option<IpAddr>,
    /// Which input was wrong, for `malformed_request` and `unknown_host`.
    pub detail: Option<&'a str>,
}

impl Denied<'_> {
    /// The subject of the session, where one was found.
    fn actor(&self) -> Actor {
        match self.subject {
            Some(subject) => Actor::new(ActorKind::User, subject, self.address),
            None => Actor::anonymous(self.address),
        }
    }
}

/// A request was denied. One that presents no credential concerns no session and is told at
/// `debug` only.
pub fn session_denied(denied: &Denied<'_>, reason: DenyReason) {
    macro_rules! at {
        ($level:ident) => {
            event!($level, Action::SessionDenied, "failure", &denied.actor(), {
                event.reason = reason.as_str(),
                user.id = denied.subject,
                url.domain = denied.host.map(domain),
                url.path = denied.path.map(shortened),
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
        at!(debug);
    } else {
        at!(info);
    }
}

/// More requests were denied in a second, for one reason, than are written one by one. The fields besides
/// the count and the times are those of the first. `known` says whether they had a session.
pub(crate) fn denials_aggregated(more: &More, reason: DenyReason, known: bool) {
    // The clients can be many, so the actor has no name and no address.
    let actor = Actor {
        kind: if known {
            ActorKind::User
        } else {
            ActorKind::Anonymous
        },
        name: None,
        address: None,
    };
    macro_rules! at {
        ($level:ident) => {
            event!($level, Action::DenialsAggregated, "failure", &actor, {
                event.reason = reason.as_str(),
                url.domain = more.host.as_deref().map(domain),
                curfew.denials.count = more.count,
                curfew.denials.first = %more.first,
                curfew.denials.last = %more.last,
                curfew.contract = more.contract,
                curfew.proxy.ip = more.peer.map(tracing::field::display),
            }, "further requests denied")
        };
    }
    if reason == DenyReason::NoCredential {
        at!(debug);
    } else {
        at!(info);
    }
}

/// A host without its port.
fn domain(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}

/// A path as text, cut off where it is long.
fn shortened(path: &[u8]) -> String {
    let path = &path[..path.len().min(MAX_PATH_BYTES)];
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_no_port_and_a_path_has_an_end() {
        for (host, expected) in [
            ("app.example.com", "app.example.com"),
            ("app.example.com:8443", "app.example.com"),
            ("[2001:db8::7]:443", "[2001:db8::7]"),
            ("[2001:db8::7]", "[2001:db8::7]"),
        ] {
            assert_eq!(domain(host), expected);
        }
        assert_eq!(shortened(&[b'a'; 2000]).len(), MAX_PATH_BYTES);
        assert_eq!(shortened(b"/a"), "/a");
    }
}
