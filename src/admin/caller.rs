use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::error::ApiError;
use super::rights::{RequiredRight, required_right};
use crate::actor::{Actor, ActorKind};
use crate::credential::NamedToken;
use crate::kubernetes::{API_GROUP, Kubernetes, KubernetesError, User, Verb};
use crate::session::Subject;
use crate::telemetry::audit;

/// The authenticated caller of the admin API, and the caller's address.
#[derive(Clone)]
pub(super) struct Caller {
    kind: CallerKind,
    address: Option<IpAddr>,
}

#[derive(Clone)]
enum CallerKind {
    /// An admin token, with its rights from the configuration.
    Token(Arc<NamedToken>),
    /// A Kubernetes user, with the rights of the user's cluster roles.
    Kubernetes(Arc<Kubernetes>, User),
}

impl Caller {
    pub(super) const fn token(token: Arc<NamedToken>, address: Option<IpAddr>) -> Self {
        let kind = CallerKind::Token(token);
        Self { kind, address }
    }

    pub(super) const fn kubernetes(
        kubernetes: Arc<Kubernetes>,
        user: User,
        address: Option<IpAddr>,
    ) -> Self {
        let kind = CallerKind::Kubernetes(kubernetes, user);
        Self { kind, address }
    }

    /// Returns the actor for audit events.
    pub(super) fn actor(&self) -> Actor {
        let (kind, name) = match &self.kind {
            CallerKind::Token(token) => (ActorKind::AdminToken, &token.name),
            CallerKind::Kubernetes(_, user) => (ActorKind::KubernetesUser, &user.username),
        };
        Actor::new(kind, name, self.address)
    }

    /// Whether the caller presented an admin token.
    pub(super) const fn has_token(&self) -> bool {
        matches!(self.kind, CallerKind::Token(_))
    }

    /// Refuses a request to the route `path` if the admin token lacks the right that the route requires. Accepts every
    /// Kubernetes user: their rights depend on the subject, so [`Caller::require_verb`] checks these rights later.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], which names the missing right.
    pub(super) fn require_right(&self, method: &Method, path: &str) -> Result<(), ApiError> {
        let CallerKind::Token(token) = &self.kind else {
            return Ok(());
        };
        let right = match required_right(method, path) {
            RequiredRight::Nothing => return Ok(()),
            RequiredRight::Right(right) if token.has_right(right) => return Ok(()),
            RequiredRight::Right(right) => right.as_str(),
            RequiredRight::UnknownRoute => "unknown",
        };
        audit::admin_refused(right, None, &self.actor());
        Err(ApiError::Forbidden(missing_right(&token.name, right)))
    }

    /// Asks Kubernetes whether the user may use `verb` on the sessions of `subject`; `None` means all subjects. An
    /// admin token always passes, because [`Caller::require_right`] has checked its rights.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if no role allows it, or [`ApiError::Unavailable`] if Kubernetes gives no answer.
    pub(super) async fn require_verb(
        &self,
        verb: Verb,
        subject: Option<&Subject>,
    ) -> Result<(), ApiError> {
        let CallerKind::Kubernetes(kubernetes, user) = &self.kind else {
            return Ok(());
        };
        let name = subject.map(Subject::as_str);
        let allowed = kubernetes.is_allowed(user, verb, name).await?;
        let verb = verb.as_str();
        if allowed {
            audit::admin_allowed(verb, name, &self.actor());
            return Ok(());
        }
        audit::admin_refused(verb, name, &self.actor());
        let user = &user.username;
        let scope = name.map_or_else(
            || "of all subjects".to_owned(),
            |name| format!("named \"{name}\""),
        );
        Err(ApiError::Forbidden(format!(
            "no Kubernetes role allows {user} to {verb} sessions.{API_GROUP} {scope}"
        )))
    }
}

/// Returns the error message for an admin token that lacks a right.
pub(super) fn missing_right(name: &str, right: &str) -> String {
    format!(
        "the admin token \"{name}\" does not have the right `{right}`; \
         add the right to `allow` of this token in admin.token_hashes"
    )
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.actor()).finish()
    }
}

impl From<KubernetesError> for ApiError {
    fn from(error: KubernetesError) -> Self {
        tracing::warn!(%error, "could not check a caller of the admin API with Kubernetes");
        Self::Unavailable(format!(
            "could not check the permission with Kubernetes: {error}"
        ))
    }
}
