use std::fmt;
use std::sync::Arc;

use super::error::ApiError;
use crate::kubernetes::{GROUP, Kubernetes, KubernetesError, User, Verb};
use crate::session::Subject;

/// Who asks the admin API.
#[derive(Clone)]
pub(super) enum Caller {
    /// Somebody with an admin token, who may do everything.
    Token,
    /// Somebody that Kubernetes knows, who may do what its roles say.
    Kubernetes(Arc<Kubernetes>, User),
}

impl Caller {
    /// Lets pass who may do this with the sessions of a subject; with everybody's, where there is none.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or that Kubernetes does not say.
    pub(super) async fn may(&self, verb: Verb, subject: Option<&Subject>) -> Result<(), ApiError> {
        let Self::Kubernetes(kubernetes, user) = self else {
            return Ok(());
        };
        let name = subject.map(Subject::as_str);
        let allowed = kubernetes.may(user, verb, name).await?;
        let (user, verb) = (&*user.username, verb.as_str());
        let subject = name.unwrap_or("*");
        if allowed {
            tracing::info!(target: "curfew::audit", event = "admin.allowed", user, verb, subject);
            return Ok(());
        }
        tracing::warn!(target: "curfew::audit", event = "admin.refused", user, verb, subject);
        let whose = name.map_or_else(
            || "of everybody".to_owned(),
            |name| format!("named \"{name}\""),
        );
        Err(ApiError::Forbidden(format!(
            "no role of the cluster allows {user} to {verb} sessions.{GROUP} {whose}"
        )))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("Token"),
            Self::Kubernetes(_, user) => f.debug_tuple("Kubernetes").field(user).finish(),
        }
    }
}

impl From<KubernetesError> for ApiError {
    fn from(error: KubernetesError) -> Self {
        tracing::warn!(%error, "Kubernetes does not say who may use the admin API");
        Self::Unavailable(format!("whether this is allowed is not known: {error}"))
    }
}
