use std::net::IpAddr;
use std::sync::Arc;

use super::{Revalidation, Timestamp};
use crate::secret::Secret;

/// Optional properties of a session. A property is `None` if it is unknown or does not apply. Curfew itself sets only
/// `host`, `refresh_token` and `revalidation`. The other properties are reserved for later versions
/// (`docs/adr/0018-sealed-records.md`); Curfew keeps them if a record in the store has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The client's address at the sign-in.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent` at the sign-in.
    pub user_agent: Option<Arc<str>>,
    /// The host of the application that the subject signed in to.
    pub host: Option<Arc<str>>,
    /// When the subject authenticated at the identity provider (`auth_time`, OpenID Connect Core 1.0 section 2).
    pub auth_time: Option<Timestamp>,
    /// The ID of the session at the provider: `sid` of OpenID Connect Front-Channel Logout 1.0.
    pub provider_session: Option<Arc<str>>,
    /// The kind of the service token that started the session; `None` for all other sessions.
    pub service_kind: Option<Arc<str>>,
    /// The name of the service token that started the session; `None` for all other sessions.
    pub service_name: Option<Arc<str>>,
    /// The region that the session belongs to.
    pub home_region: Option<Arc<str>>,
    /// The refresh token, with which Curfew asks the provider whether the subject may stay signed in.
    pub refresh_token: Option<Secret<String>>,
    /// When the provider last confirmed the session, and when Curfew asks the provider again.
    pub revalidation: Option<Revalidation>,
    /// The actor that ended the session: a kind and a name, such as `token:ci`.
    pub ended_by: Option<Arc<str>>,
}

/// A refresh token from a sign-in, and the initial state of revalidation. In a revalidation, Curfew asks the provider
/// with the refresh token whether the subject may stay signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshGrant {
    /// The refresh token that the provider issued at the sign-in.
    pub token: Secret<String>,
    /// The state of revalidation at the sign-in.
    pub revalidation: Revalidation,
}

impl Details {
    /// The details of a sign-in to the application on this host; `None` if no detail is known.
    #[must_use]
    pub fn of_sign_in(host: Option<Arc<str>>, refresh: Option<RefreshGrant>) -> Option<Arc<Self>> {
        let revalidation = refresh.as_ref().map(|grant| grant.revalidation);
        let details = Self {
            host,
            refresh_token: refresh.map(|grant| grant.token),
            revalidation,
            ..Self::default()
        };
        (details != Self::default()).then(|| Arc::new(details))
    }

    /// The details that a tombstone keeps: all except the refresh token and the state of revalidation.
    pub(super) fn retain_for_tombstone(details: Arc<Self>) -> Option<Arc<Self>> {
        if details.refresh_token.is_none() && details.revalidation.is_none() {
            return Some(details);
        }
        let kept = Self {
            refresh_token: None,
            revalidation: None,
            ..(*details).clone()
        };
        (kept != Self::default()).then(|| Arc::new(kept))
    }
}
