//! What the admin API takes and gives, as JSON.

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

/// A sign-in that has happened elsewhere, for which a session is to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSession {
    /// Whose session it is: 1 to 255 bytes.
    #[schema(example = "alice@example.com")]
    subject: String,
    /// The home policy; the default one when left out.
    #[schema(example = "default")]
    policy: Option<String>,
    /// What else is known of the subject, each a text or a list of texts. `groups` and `email`
    /// are told to the backend.
    #[serde(default)]
    attributes: BTreeMap<String, OneOrMany>,
    /// Whether the subject asked to be remembered: the limits are then those of the policy's
    /// `remember`.
    #[serde(default)]
    remember: bool,
    /// The client that signed in, for a policy that binds sessions to it.
    client: Option<ClientView>,
}

/// A client.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientView {
    /// Its address, as the proxy sees it.
    #[schema(example = "203.0.113.7")]
    address: Option<String>,
    /// Its `User-Agent`.
    user_agent: Option<String>,
}

impl ClientView {
    pub(super) fn parse(self) -> Result<Client, ApiError> {
        let address = self.address.map(|text| text.parse::<IpAddr>()).transpose();
        let address = address.map_err(|_| {
            ApiError::Invalid("client.address: an IP address, such as 203.0.113.7".to_owned())
        })?;
        let user_agent = self.user_agent;
        Ok(Client {
            address,
            user_agent: user_agent.map(|text| Client::hash_user_agent(text.as_bytes())),
        })
    }
}

/// A text or a list of texts.
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
    /// Parses the request.
    pub(super) fn parse(self, policies: &Policies, actor: Actor) -> Result<SignIn, ApiError> {
        let invalid = |field: &str, error: &dyn std::fmt::Display| {
            ApiError::Invalid(format!("{field}: {error}"))
        };
        // They say how Curfew itself started a session.
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

/// A session that was just started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedSession {
    /// The credential. It is told here and never again.
    pub(super) token: String,
    /// The value for a `Set-Cookie` header that hands the credential to a browser.
    pub(super) set_cookie: String,
    /// The session.
    pub(super) session: SessionView,
    /// Only where `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// How many replicas of the store have a change; a fail-over to one that has it not would lose it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplicationView {
    /// How many should.
    wanted: u16,
    /// How many said so in time.
    confirmed: u16,
}

impl ReplicationView {
    /// `None` where no replicas are waited for.
    pub(super) fn new(replication: Replication) -> Option<Self> {
        (replication.wanted > 0).then_some(Self {
            wanted: replication.wanted,
            confirmed: replication.confirmed,
        })
    }
}

/// A session that has ended, now or before.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedSession {
    #[serde(flatten)]
    pub(super) session: SessionView,
    /// Only where `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// Whether a session lives.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateView {
    Live,
    Ended,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// Its name: 32 hexadecimal digits. It is no credential.
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) policy: String,
    /// The source that started it: `token` (admin API), `jwt`, `delegated`, `login`, or `console` for an operator.
    pub(super) source: String,
    pub(super) attributes: BTreeMap<String, Vec<String>>,
    /// Whether its limits are those of the policy's `remember`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) remembered: bool,
    /// The network that it can be used from; absent where that is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bound_to_network: Option<String>,
    /// Whether it can be used by one kind of client only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) bound_to_user_agent: bool,
    /// `ended` also where a limit has been reached and no check has found out yet.
    pub(super) state: StateView,
    /// Why it ended: `idle_timeout`, `absolute_timeout`, `revoked` or `signed_out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_reason: Option<&'static str>,
    /// When the end was established, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<String>,
    /// When the subject signed in, RFC 3339.
    pub(super) started: String,
    /// The last activity, RFC 3339.
    pub(super) last_seen: String,
    /// When it ends unless it is used before, RFC 3339; the absolute limit where that comes first.
    pub(super) idle_deadline: String,
    /// When it ends whatever happens, RFC 3339.
    pub(super) absolute_deadline: String,
    /// Seconds until `idle_deadline`, rounded down; 0 once it has ended.
    pub(super) idle_remaining: u64,
    /// Seconds until `absolute_deadline`, rounded down; 0 once it has ended.
    pub(super) absolute_remaining: u64,
}

impl SessionView {
    /// From where it may be used, for people.
    pub(super) fn bound(&self) -> String {
        let network = self.bound_to_network.as_deref();
        match (network, self.bound_to_user_agent) {
            (None, false) => "anywhere".to_owned(),
            (None, true) => "one user agent".to_owned(),
            (Some(network), false) => network.to_owned(),
            (Some(network), true) => format!("{network}, one user agent"),
        }
    }

    /// The session as it is at `now`, under its home policy.
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

/// Which sessions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListSessions {
    /// Whose sessions. When left out: those of anybody that end first, as far as is known, on one page.
    pub(super) subject: Option<String>,
    /// The most sessions on a page, 1 to 1000; 100 when left out.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionPage {
    /// In an order that does not change while they live.
    pub(super) sessions: Vec<SessionView>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// Whose sessions to end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevokeAll {
    /// The subject.
    pub(super) subject: String,
    /// End those that started before this, RFC 3339; all of them when left out.
    pub(super) before: Option<String>,
}

/// How many sessions were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedAll {
    /// Those that lived until now.
    pub(super) revoked: usize,
    /// All that started before this have ended, also those that were not found; RFC 3339.
    pub(super) not_before: String,
    /// Only where `store.wait_replicas` is set, and something was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<ReplicationView>,
}

/// Whose sessions to count.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CountSessions {
    /// The subject.
    pub(super) subject: String,
}

/// How many sessions a subject has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionCount {
    /// Those that live.
    pub(super) live: usize,
    /// Those that have ended, and whose end can still be told.
    pub(super) ended: usize,
}

/// How far to move a session into the past.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgeSession {
    /// A duration such as `14m 30s`.
    #[schema(example = "15m")]
    pub(super) by: String,
}
