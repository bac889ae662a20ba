//! The actor of an event. Audit events and webhook deliveries name the actor.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::session::{EndReason, PolicyName, Session, Subject};

/// The actor of an event, and the client address of the request that caused the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The kind of actor.
    pub kind: ActorKind,
    /// The name of the actor, unique within its kind; `None` for [`ActorKind::Anonymous`] and [`ActorKind::Curfew`].
    pub name: Option<Arc<str>>,
    /// The client address of the request; `None` without a request, or if the address is unknown.
    pub address: Option<IpAddr>,
}

/// The kinds of actors; `docs/observability.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// The subject of the session.
    User,
    /// An admin token; the actor's name is the name of the token.
    AdminToken,
    /// A Kubernetes user; the name is the user name that the API server reports.
    KubernetesUser,
    /// An operator who is signed in to the console.
    Operator,
    /// An identity provider; the name is its issuer.
    Provider,
    /// A policy whose limit ended a session; the name is the policy's name.
    Policy,
    /// A client that Curfew cannot identify.
    Anonymous,
    /// Curfew itself. Audit events also name Curfew if the record of a session does not contain the actor.
    Curfew,
}

/// An actor as other programs receive it: without the client address, which only the audit log contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorView {
    /// The word for the kind, see [`ActorKind::as_str`].
    pub kind: &'static str,
    /// The name within the kind; `None` for [`ActorKind::Anonymous`] and [`ActorKind::Curfew`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}

impl ActorKind {
    /// Every kind, for documentation and metrics.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::AdminToken,
        Self::KubernetesUser,
        Self::Operator,
        Self::Provider,
        Self::Policy,
        Self::Anonymous,
        Self::Curfew,
    ];

    /// The value of the audit field `curfew.actor.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::AdminToken => "admin_token",
            Self::KubernetesUser => "kubernetes_user",
            Self::Operator => "operator",
            Self::Provider => "provider",
            Self::Policy => "policy",
            Self::Anonymous => "anonymous",
            Self::Curfew => "curfew",
        }
    }
}

impl Actor {
    /// Curfew itself, without an address.
    pub const CURFEW: Self = Self {
        kind: ActorKind::Curfew,
        name: None,
        address: None,
    };

    /// An actor with a name; for actors without a name use [`Actor::CURFEW`] or [`Actor::anonymous`].
    #[must_use]
    pub fn new(kind: ActorKind, name: &str, address: Option<IpAddr>) -> Self {
        Self {
            kind,
            name: Some(name.into()),
            address,
        }
    }

    /// The subject of a session, as [`ActorKind::User`].
    #[must_use]
    pub fn user(subject: &Subject, address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::User, subject.as_str(), address)
    }

    /// The owner of a session: its operator for a console session, otherwise its subject.
    #[must_use]
    pub fn owner(session: &Session, address: Option<IpAddr>) -> Self {
        let kind = if session.is_operator() {
            ActorKind::Operator
        } else {
            ActorKind::User
        };
        Self::new(kind, session.user_id(), address)
    }

    /// The same actor with this client address.
    #[must_use]
    pub fn with_address(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// A policy, as the actor that ends a session at a limit.
    #[must_use]
    pub fn policy(name: &PolicyName) -> Self {
        Self::new(ActorKind::Policy, name.as_str(), None)
    }

    /// An identity provider, named by its issuer.
    #[must_use]
    pub fn provider(issuer: &str, address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::Provider, issuer, address)
    }

    /// A client that Curfew cannot identify.
    #[must_use]
    pub const fn anonymous(address: Option<IpAddr>) -> Self {
        Self {
            kind: ActorKind::Anonymous,
            name: None,
            address,
        }
    }

    /// The actor that ended a session, as far as the session record shows. For a limit, the actor is the policy. For a
    /// sign-out, the actor is the owner. For a revocation, the result is Curfew, because the record names no actor.
    #[must_use]
    pub fn of_end(reason: EndReason, session: &Session) -> Self {
        match reason {
            EndReason::IdleTimeout | EndReason::AbsoluteTimeout => Self::policy(&session.policy),
            EndReason::SignedOut => Self::owner(session, None),
            EndReason::Revoked => Self::CURFEW,
        }
    }

    /// The actor for other programs, without its address.
    #[must_use]
    pub fn view(&self) -> ActorView {
        ActorView {
            kind: self.kind.as_str(),
            name: self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, session_of};

    #[test]
    fn a_late_session_end_names_the_actor_from_the_record() {
        let session = session_of("alice", START);
        for (reason, kind, name) in [
            (EndReason::IdleTimeout, ActorKind::Policy, Some("default")),
            (
                EndReason::AbsoluteTimeout,
                ActorKind::Policy,
                Some("default"),
            ),
            (EndReason::SignedOut, ActorKind::User, Some("alice")),
            (EndReason::Revoked, ActorKind::Curfew, None),
        ] {
            let actor = Actor::of_end(reason, &session);
            assert_eq!(
                (actor.kind, actor.name.as_deref()),
                (kind, name),
                "{reason}"
            );
        }
    }
}
