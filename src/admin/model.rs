//! The JSON requests and responses of the admin API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use crate::actor::Actor;
use crate::lifecycle::SignIn;
use crate::policy::{AppliedPolicy, Client, Policies};
use crate::session::{Attributes, PolicyName, Session, SessionId, State, Subject, Timestamp};
use crate::store::Replication;
use crate::streams::{OpenStream, StreamKind};

/// A sign-in that another service handled, and for which Curfew starts a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSession {
    /// The user who signed in: 1 to 255 bytes.
    #[schema(example = "alice@example.com")]
    subject: String,
    /// The home policy, whose limits the session keeps; the default policy if left out.
    #[schema(example = "default")]
    policy: Option<String>,
    /// Attributes of the subject; each is a string or a list of strings. The application gets `groups` and
    /// `email`.
    #[serde(default)]
    attributes: BTreeMap<String, OneOrMany>,
    /// Whether the subject chose "remember me". The session then gets the limits of the policy's `remember`.
    #[serde(default)]
    remember: bool,
    /// The client that signed in. Required if the policy has a binding.
    client: Option<ClientView>,
}

/// The address and the user agent of a client.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientView {
    /// The IP address, as the proxy sees it.
    #[schema(example = "203.0.113.7")]
    address: Option<String>,
    /// The value of the `User-Agent` header.
    user_agent: Option<String>,
}

impl ClientView {
    pub(super) fn parse(self) -> Result<Client, ApiError> {
        let address = self.address.map(|text| text.parse::<IpAddr>()).transpose();
        let address = address.map_err(|_| {
            ApiError::Invalid(
                "client.address: must be an IP address, such as 203.0.113.7".to_owned(),
            )
        })?;
        let user_agent = self.user_agent;
        Ok(Client {
            address,
            user_agent: user_agent.map(|text| Client::hash_user_agent(text.as_bytes())),
        })
    }
}

/// A string or a list of strings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(values: OneOrMany) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

impl CreateSession {
    /// Validates the request and converts it to a sign-in.
    pub(super) fn parse(self, policies: &Policies, actor: Actor) -> Result<SignIn, ApiError> {
        let invalid = |field: &str, error: &dyn std::fmt::Display| {
            ApiError::Invalid(format!("{field}: {error}"))
        };
        // Curfew itself sets the attributes with this prefix: they record how a session started.
        if let Some(name) = self
            .attributes
            .keys()
            .find(|name| name.starts_with("curfew_"))
        {
            let reserved = "names that begin with `curfew_` are reserved";
            return Err(invalid(&format!("attributes.{name}"), &reserved));
        }
        let attributes = self
            .attributes
            .into_iter()
            .map(|(name, values)| (name, values.into()))
            .collect();
        let policy = match self.policy {
            Some(name) => PolicyName::new(name).map_err(|error| invalid("policy", &error))?,
            None => policies.default_name().clone(),
        };
        let client = self.client.map(ClientView::parse).transpose()?;
        Ok(SignIn {
            // The application gives the credential to the client in its own way.
            usable_at: None,
            remember: self.remember,
            client: client.unwrap_or_default(),
            authenticated: None,
            host: None,
            refresh: None,
            actor,
            subject: Subject::new(self.subject).map_err(|error| invalid("subject", &error))?,
            attributes: Attributes::new(attributes)
                .map_err(|error| invalid("attributes", &error))?,
            policy,
        })
    }
}

/// A new session, with its token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedSession {
    /// The credential of the session. No other response contains it.
    pub(super) token: String,
    /// The value of a `Set-Cookie` header that gives the credential to a browser.
    pub(super) set_cookie: String,
    /// The session.
    pub(super) session: SessionView,
    /// The confirmations by Redis replicas; present only if `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// The number of Redis replicas that have confirmed a change. A fail-over to another Redis replica loses the change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplicationView {
    /// The number of required confirmations.
    wanted: u16,
    /// The number of Redis replicas that confirmed the change in time.
    confirmed: u16,
}

impl ReplicationView {
    /// Returns `None` if no confirmation is required.
    pub(super) fn new(replication: Replication) -> Option<Self> {
        (replication.wanted > 0).then_some(Self {
            wanted: replication.wanted,
            confirmed: replication.confirmed,
        })
    }
}

/// The ended session. If it had ended before this request, it keeps the earlier reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedSession {
    #[serde(flatten)]
    pub(super) session: SessionView,
    /// The confirmations by Redis replicas; present only if `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// Whether a session is live or has ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateView {
    Live,
    Ended,
}

/// The state of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// The session ID: 32 hexadecimal digits. It is not a credential.
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) policy: String,
    /// How the session was started: `token` (admin API), `jwt`, `delegated`, `login`, or `console` for an operator.
    pub(super) source: String,
    pub(super) attributes: BTreeMap<String, Vec<String>>,
    /// Whether the session has the limits of the policy's `remember`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) remembered: bool,
    /// The network that the session is bound to; absent if the session is not bound to a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bound_to_network: Option<String>,
    /// Whether the session is bound to one user agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) bound_to_user_agent: bool,
    /// `live` or `ended`. A session past one of its limits is `ended`, even before Curfew has recorded the end.
    pub(super) state: StateView,
    /// The reason of the end: `idle_timeout`, `absolute_timeout`, `revoked` or `signed_out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_reason: Option<&'static str>,
    /// When Curfew recorded the end, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<String>,
    /// When the subject signed in, RFC 3339.
    pub(super) started: String,
    /// The last activity, RFC 3339.
    pub(super) last_seen: String,
    /// When the session ends without further activity, RFC 3339; never after `absolute_deadline`.
    pub(super) idle_deadline: String,
    /// When the session ends even with activity, RFC 3339.
    pub(super) absolute_deadline: String,
    /// Seconds until `idle_deadline`, rounded down; 0 for an ended session.
    pub(super) idle_remaining: u64,
    /// Seconds until `absolute_deadline`, rounded down; 0 for an ended session.
    pub(super) absolute_remaining: u64,
}

impl SessionView {
    /// Returns the binding as text for the console.
    pub(super) fn binding_text(&self) -> String {
        let network = self.bound_to_network.as_deref();
        match (network, self.bound_to_user_agent) {
            (None, false) => "—".to_owned(),
            (None, true) => "browser".to_owned(),
            (Some(network), false) => network.to_owned(),
            (Some(network), true) => format!("{network}, browser"),
        }
    }

    /// Describes the session at `now`, with the limits of its home policy.
    pub(super) fn new(
        id: SessionId,
        session: &Session,
        home: &AppliedPolicy<'_>,
        now: Timestamp,
    ) -> Self {
        let limits = &home.limits;
        let absolute = session.absolute_deadline(limits);
        let idle = session.idle_deadline(limits).min(absolute);
        let verdict = crate::session::decide(Some(session), limits, limits, now);
        let end_reason = match verdict {
            crate::session::Verdict::Deny(reason) if reason.is_terminal() => Some(reason.as_str()),
            _ => None,
        };
        let ended = match session.state {
            State::Ended(end) => Some(end.at.to_string()),
            State::Live => None,
        };
        let source = session.attributes.get(Attributes::SOURCE).next();
        let mut attributes = session.attributes.to_map();
        attributes.remove(Attributes::SOURCE);
        attributes.remove(Attributes::OPERATOR_TOKEN);
        let remaining = |deadline: Timestamp| {
            if end_reason.is_some() {
                0
            } else {
                deadline.since(now).as_secs()
            }
        };
        Self {
            id: id.to_string(),
            subject: session.subject.to_string(),
            policy: session.policy.to_string(),
            source: source.unwrap_or("token").to_owned(),
            attributes,
            remembered: session.remembered,
            bound_to_network: session.binding.network.map(|network| network.to_string()),
            bound_to_user_agent: session.binding.user_agent.is_some(),
            state: if end_reason.is_some() {
                StateView::Ended
            } else {
                StateView::Live
            },
            end_reason,
            ended,
            started: session.started.to_string(),
            last_seen: session.last_seen.to_string(),
            idle_deadline: idle.to_string(),
            absolute_deadline: absolute.to_string(),
            idle_remaining: remaining(idle),
            absolute_remaining: remaining(absolute),
        }
    }
}

/// A session with its open streams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionWithStreams {
    #[serde(flatten)]
    pub(super) session: SessionView,
    /// The open streams of this session on the replica that answers, the oldest first. Other replicas can have further
    /// streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) streams: Vec<StreamView>,
}

/// An open stream: a connection that stays open after its request, such as a WebSocket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamView {
    /// `websocket`, `event_stream`, `grpc`, `upgrade` or `transfer`; `opening` until the answer begins.
    pub(super) kind: &'static str,
    pub(super) host: String,
    /// The path, without the query.
    pub(super) path: String,
    /// The address of the client, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    /// When the stream was opened, RFC 3339.
    pub(super) opened: String,
    /// The number of bytes from the client.
    pub(super) bytes_from_client: u64,
    /// The number of bytes to the client.
    pub(super) bytes_to_client: u64,
}

impl StreamView {
    pub(super) fn new(stream: &OpenStream) -> Self {
        let (bytes_from_client, bytes_to_client) = stream.bytes();
        let target = &stream.target;
        Self {
            kind: stream.kind().map_or("opening", StreamKind::as_str),
            host: target.host.clone(),
            path: String::from_utf8_lossy(&target.path).into_owned(),
            address: target.client.address.map(|address| address.to_string()),
            opened: stream.opened.to_string(),
            bytes_from_client,
            bytes_to_client,
        }
    }
}

/// The query for a list of sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListSessions {
    /// The subject. Without a subject, the response is a single page with the sessions that end soonest.
    pub(super) subject: Option<String>,
    /// The maximum number of sessions on a page, 1 to 1000; 100 by default.
    pub(super) limit: Option<usize>,
    /// The value of `next` from the previous page.
    pub(super) cursor: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionPage {
    /// The sessions of this page. The order of live sessions does not change between requests, so all pages together
    /// contain each live session.
    pub(super) sessions: Vec<SessionView>,
    /// The cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// The query for ending all sessions of a subject.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevokeAll {
    /// The user whose sessions end.
    pub(super) subject: String,
    /// Ends only sessions that started before this time, RFC 3339; without this time, ends all sessions of the
    /// subject.
    pub(super) before: Option<String>,
}

/// The result of ending the sessions of a subject.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedAll {
    /// The number of sessions that were live and that this request has ended.
    pub(super) revoked: usize,
    /// All sessions that started before this time have ended, even sessions that Curfew did not find; RFC 3339.
    pub(super) not_before: String,
    /// The confirmations by Redis replicas; present only if `store.wait_replicas` is set and a session was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// The query for counting the sessions of a subject.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CountSessions {
    /// The user whose sessions are counted.
    pub(super) subject: String,
}

/// The number of sessions of a subject.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionCount {
    /// The number of live sessions.
    pub(super) live: usize,
    /// The number of ended sessions whose tombstone (the record of the end) has not expired.
    pub(super) ended: usize,
}

/// A request to move all times of a session into the past.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgeSession {
    /// A duration such as `14m 30s`.
    #[schema(example = "15m")]
    pub(super) by: String,
}
