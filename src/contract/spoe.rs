//! HAProxy SPOE.
//!
//! HAProxy sends the original request in the arguments of one message, and the agent sets variables of the
//! transaction. The configuration of HAProxy, in `deploy/haproxy/`, uses these variables to deny, redirect and set
//! headers. HAProxy allows a request only if `verdict` is `allow`. So it denies every request if the agent is down or
//! does not support the message.

mod headers;

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use spop::frame::Message;
use spop::{Action, TypedData, VarScope};

use super::Contracts;
use super::assertion::ASSERTION_HEADER;
use super::reply::{ReplyForm, SESSION_DETAIL, SESSION_REASON, build_reply};
use crate::admission::ConcurrencyLimit;
use crate::check::{
    CheckRequest, ClientAddress, InvalidUrl, MalformedOriginal, Original, OriginalUrl, Outcome,
};
use crate::identity::Identity;
use crate::listener::SpopService;
use crate::live::Live;
use crate::policy::Contract;

/// The name of the message that requests a check.
const CHECK_MESSAGE: &str = "check";

/// Answers HAProxy's messages.
#[derive(Clone)]
pub struct Agent {
    contracts: Live<Contracts>,
    limit: ConcurrencyLimit,
}

impl Agent {
    /// Creates an agent. `limit` bounds the concurrent messages.
    #[must_use]
    pub const fn new(contracts: Live<Contracts>, limit: ConcurrencyLimit) -> Self {
        Self { contracts, limit }
    }
}

impl SpopService for Agent {
    async fn answer(&self, message: &Message, peer: IpAddr) -> Vec<Action> {
        let permit = self.limit.take();
        let contracts = self.contracts.current();
        if message.name != CHECK_MESSAGE {
            tracing::warn!(message = ?message.name, "unknown SPOE message from HAProxy: Curfew answers only the message `check`");
            return Vec::new();
        }
        let headers = argument_text(message, "headers").and_then(headers::parse);
        let method = argument_text(message, "method").and_then(|method| {
            Method::from_bytes(method).map_err(|_| MalformedOriginal {
                input: "the argument method",
                problem: "is not a valid HTTP method",
            })
        });
        let url = original_url(message, contracts.cookie.is_secure());
        let original = match (&method, url, &headers) {
            (_, Err(malformed), _) => Err(malformed),
            (Err(malformed), ..) | (.., Err(malformed)) => Err(*malformed),
            (Ok(method), Ok(url), Ok(_)) => Ok(Original::new(method, url)),
        };
        let headers = headers.unwrap_or_default();
        let policy = match message.get("policy") {
            None | Some(TypedData::Null) => None,
            // A value that is not text cannot be a policy name. It becomes an unknown policy, so the check is denied.
            Some(_) => Some(argument_text(message, "policy").unwrap_or_default()),
        };
        let policy = policy.map(String::from_utf8_lossy);
        let request = CheckRequest {
            contract: Contract::Spoe,
            policy: policy.as_deref(),
            original,
            headers: &headers,
            address: ClientAddress::InField(client_address(message)),
            peer: Some(peer),
        };
        let outcome = contracts.check_with_permit(permit, &request).await;
        let reply = build_reply(&contracts, &request, &outcome, ReplyForm::Complete);
        variable_actions(&contracts, &outcome, &reply)
    }
}

/// Returns the text of an argument, which HAProxy sends as a string or as binary data.
fn argument_text<'a>(message: &'a Message, name: &str) -> Result<&'a [u8], MalformedOriginal> {
    match message.get(name) {
        Some(TypedData::String(text)) => Ok(text.as_bytes()),
        Some(TypedData::Binary(bytes)) => Ok(bytes),
        _ => Err(MalformedOriginal::missing(match name {
            "method" => "the argument method",
            "host" => "the argument host",
            "path" => "the argument path",
            "scheme" => "the argument scheme",
            "headers" => "the argument headers",
            _ => "an argument",
        })),
    }
}

fn original_url(message: &Message, secure: bool) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let secure = match message.get("scheme") {
        None | Some(TypedData::Null) => secure,
        Some(_) => OriginalUrl::is_secure(argument_text(message, "scheme")?).map_err(|_| {
            MalformedOriginal {
                input: "the argument scheme",
                problem: "is not http, https, ws or wss",
            }
        })?,
    };
    let (host, path) = (
        argument_text(message, "host")?,
        argument_text(message, "path")?,
    );
    OriginalUrl::from_parts(secure, host, path).map_err(|invalid| match invalid {
        InvalidUrl::Host => invalid.for_input("the argument host"),
        _ => invalid.for_input("the argument path"),
    })
}

/// Returns the address of the client, if HAProxy sends it.
fn client_address(message: &Message) -> Option<IpAddr> {
    match message.get("src") {
        Some(TypedData::IPv4(address)) => Some(IpAddr::V4(*address)),
        Some(TypedData::IPv6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// The maximum number of cookies of a delegated service that the agent passes on, in the variables `set_cookie`,
/// `set_cookie_2` and so on.
const MAX_COOKIE_VARIABLES: usize = 4;

/// The headers of the reply that become variables, with the names of the variables.
const HEADER_VARIABLES: [(HeaderName, &str); 6] = [
    (SESSION_REASON, "reason"),
    (SESSION_DETAIL, "detail"),
    (WWW_AUTHENTICATE, "challenge"),
    (LOCATION, "location"),
    (CONTENT_TYPE, "content_type"),
    (ASSERTION_HEADER, "assertion"),
];

pub(super) fn variable_actions(
    contracts: &Contracts,
    outcome: &Outcome,
    reply: &http::Response<String>,
) -> Vec<Action> {
    let text = |text: &str| TypedData::String(text.to_owned());
    let mut actions = Vec::with_capacity(HEADER_VARIABLES.len() + 3);
    let mut set = |name: &str, value: TypedData| {
        actions.push(Action::SetVar {
            scope: VarScope::Transaction,
            name: name.to_owned(),
            value,
        });
    };
    let allowed = reply.status() == StatusCode::OK;
    set("verdict", text(if allowed { "allow" } else { "deny" }));
    set(
        "status",
        TypedData::Int32(i32::from(reply.status().as_u16())),
    );
    if allowed {
        let identity = match &outcome.session {
            Some((id, session)) => Identity::of(*id, session),
            None => Identity::default(),
        };
        set("user", text(identity.user));
        set("groups", text(&identity.joined_groups()));
        set("email", text(identity.email));
        set("name", text(identity.name));
        set("preferred_username", text(identity.preferred_username));
        set("id", text(&identity.id));
        set("policy", text(identity.policy));
        // The variable has the name of the header, but with `_` instead of `-`, which HAProxy does not allow in the
        // name of a variable.
        for header in &contracts.identity.relayed {
            let value = reply
                .headers()
                .get(header)
                .map_or(&b""[..], HeaderValue::as_bytes);
            let name = header.as_str().replace('-', "_");
            set(&name, text(&String::from_utf8_lossy(value)));
        }
    }
    let cookies = reply.headers().get_all(SET_COOKIE).into_iter().enumerate();
    for (index, value) in cookies.take(MAX_COOKIE_VARIABLES) {
        let name = match index {
            0 => "set_cookie".to_owned(),
            _ => format!("set_cookie_{}", index + 1),
        };
        set(&name, text(&String::from_utf8_lossy(value.as_bytes())));
    }
    for (header, name) in HEADER_VARIABLES {
        if let Some(value) = reply.headers().get(header) {
            set(name, text(&String::from_utf8_lossy(value.as_bytes())));
        }
    }
    if !reply.body().is_empty() {
        set("body", text(reply.body()));
    }
    actions
}

#[cfg(test)]
pub(super) mod tests;
