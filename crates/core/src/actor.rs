//! Who causes an event: named in every audit event, and in what other programs hear of the ends of sessions.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::session::{EndReason, PolicyName, Session, Subject};

/// Who causes an event, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor it is.
    pub kind: ActorKind,
    /// Its name within the kind; `None` for [`ActorKind::Anonymous`] and [`ActorKind::Curfew`].
    pub name: Option<Arc<str>>,
    /// The address of its request, where there is one and it is known.
    pub address: Option<IpAddr>,
}

/// The kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// The subject of the session.
    User,
    /// An admin token, by its name.
    AdminToken,
    /// A user of Kubernetes, by its user name.
    KubernetesUser,
    /// An operator in the console.
    Operator,
    /// An identity provider, by its issuer.
    Provider,
    /// A policy, by its name.
    Policy,
    /// A client that is not known.
    Anonymous,
    /// Curfew itself, also where the actor is not known any more.
    Curfew,
}

/// An actor as other programs hear of it. It has no address: that is for the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorView {
    /// [`ActorKind::as_str`].
    pub kind: &'static str,
    /// The name within the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}

impl ActorKind {
    /// Every kind.
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

    /// The word in `curfew.actor.kind`.
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
    /// Curfew itself.
    pub const CURFEW: Self = Self {
        kind: ActorKind::Curfew,
        name: None,
        address: None,
    };

    /// An actor of this kind and name.
    #[must_use]
    pub fn new(kind: ActorKind, name: &str, address: Option<IpAddr>) -> Self {
        Self {
            kind,
            name: Some(name.into()),
            address,
        }
    }

    /// The subject of a session.
    #[must_use]
    pub fn user(subject: &Subject, address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::User, subject.as_str(), address)
    }

    /// The subject of a session, or the operator whose session it is.
    #[must_use]
    pub fn owner(session: &Session, address: Option<IpAddr>) -> Self {
        let kind = if session.is_operator() {
            ActorKind::Operator
        } else {
            ActorKind::User
        };
        Self::new(kind, session.user_id(), address)
    }

    /// The same actor, with the address of the client whose request it acted on.
    #[must_use]
    pub fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// A policy.
    #[must_use]
    pub fn policy(name: &PolicyName) -> Self {
        Self::new(ActorKind::Policy, name.as_str(), None)
    }

    /// An identity provider.
    #[must_use]
    pub fn provider(issuer: &str, address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::Provider, issuer, address)
    }

    /// A client that is not known.
    #[must_use]
    pub const fn anonymous(address: Option<IpAddr>) -> Self {
        Self {
            kind: ActorKind::Anonymous,
            name: None,
            address,
        }
    }

    /// Who ends a session for this reason, by what its record says: the policy for a limit, the subject for a sign-out,
    /// and Curfew where the record does not say who revoked it.
    #[must_use]
    pub fn of_end(reason: EndReason, session: &Session) -> Self {
        match reason {
            EndReason::IdleTimeout | EndReason::AbsoluteTimeout => Self::policy(&session.policy),
            EndReason::SignedOut => Self::owner(session, None),
            EndReason::Revoked => Self::CURFEW,
        }
    }

    /// What other programs hear of it.
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
    fn an_end_that_is_told_later_names_whom_the_record_names() {
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
