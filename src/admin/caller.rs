use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::error::ApiError;
use super::rights::{Required, required};
use crate::actor::{Actor, ActorKind};
use crate::credential::NamedToken;
use crate::kubernetes::{GROUP, Kubernetes, KubernetesError, User, Verb};
use crate::session::Subject;
use crate::telemetry::audit;

/// Who asks the admin API, and from where.
#[derive(Clone)]
pub(super) struct Caller {
    who: Who,
    address: Option<IpAddr>,
}

#[derive(Clone)]
enum Who {
    /// Somebody with an admin token, who may do what the configuration says.
    Token(Arc<NamedToken>),
    /// Somebody that Kubernetes knows, who may do what its roles say.
    Kubernetes(Arc<Kubernetes>, User),
}

impl Caller {
    pub(super) const fn token(token: Arc<NamedToken>, address: Option<IpAddr>) -> Self {
        let who = Who::Token(token);
        Self { who, address }
    }

    pub(super) const fn kubernetes(
        kubernetes: Arc<Kubernetes>,
        user: User,
        address: Option<IpAddr>,
    ) -> Self {
        let who = Who::Kubernetes(kubernetes, user);
        Self { who, address }
    }

    /// The caller, as audit events name it.
    pub(super) fn actor(&self) -> Actor {
        let (kind, name) = match &self.who {
            Who::Token(token) => (ActorKind::AdminToken, &token.name),
            Who::Kubernetes(_, user) => (ActorKind::KubernetesUser, &user.username),
        };
        Actor::new(kind, name, self.address)
    }

    /// Whether the caller has an admin token.
    pub(super) const fn has_token(&self) -> bool {
        matches!(self.who, Who::Token(_))
    }

    /// Refuses a request to the route `path` where the caller's admin token lacks the right for it. What a user of
    /// Kubernetes may do depends on the subject: [`Caller::may`] asks.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] names the right.
    pub(super) fn may_use(&self, method: &Method, path: &str) -> Result<(), ApiError> {
        let Who::Token(token) = &self.who else {
            return Ok(());
        };
        let right = match required(method, path) {
            Required::Nothing => return Ok(()),
            Required::Right(right) if token.may(right) => return Ok(()),
            Required::Right(right) => right.as_str(),
            Required::Unknown => "unknown",
        };
        audit::admin_refused(right, None, &self.actor());
        Err(ApiError::Forbidden(missing(&token.name, right)))
    }

    /// Lets pass who may do this with the sessions of a subject; with everybody's, where there is none. An admin token
    /// is let pass: [`Caller::may_use`] looks at its rights.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or that Kubernetes does not say.
    pub(super) async fn may(&self, verb: Verb, subject: Option<&Subject>) -> Result<(), ApiError> {
        let Who::Kubernetes(kubernetes, user) = &self.who else {
            return Ok(());
        };
        let name = subject.map(Subject::as_str);
        let allowed = kubernetes.may(user, verb, name).await?;
        let verb = verb.as_str();
        if allowed {
            audit::admin_allowed(verb, name, &self.actor());
            return Ok(());
        }
        audit::admin_refused(verb, name, &self.actor());
        let user = &user.username;
        let whose = name.map_or_else(
            || "of everybody".to_owned(),
            |name| format!("named \"{name}\""),
        );
        Err(ApiError::Forbidden(format!(
            "no role of the cluster allows {user} to {verb} sessions.{GROUP} {whose}"
        )))
    }
}

/// What an admin token lacks, for people.
pub(super) fn missing(name: &str, right: &str) -> String {
    format!(
        "the admin token \"{name}\" does not have the right `{right}`; \
         `allow` in admin.token_hashes gives it"
    )
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.actor()).finish()
    }
}

impl From<KubernetesError> for ApiError {
    fn from(error: KubernetesError) -> Self {
        tracing::warn!(%error, "Kubernetes does not say who may use the admin API");
        Self::Unavailable(format!("whether this is allowed is not known: {error}"))
    }
}
