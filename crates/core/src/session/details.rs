use std::net::IpAddr;
use std::sync::Arc;

use super::{Revalidation, Timestamp};
use crate::secret::Secret;

/// What is known of a session beside what decisions need; each part only where it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The client's address at the sign-in.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent` at the sign-in.
    pub user_agent: Option<Arc<str>>,
    /// The host that the sign-in was for.
    pub host: Option<Arc<str>>,
    /// When the subject authenticated at the identity provider (`auth_time`, OpenID Connect Core 1.0 section 2).
    pub auth_time: Option<Timestamp>,
    /// The provider's own session: `sid` of OpenID Connect Front-Channel Logout 1.0.
    pub provider_session: Option<Arc<str>>,
    /// The kind of a service token.
    pub service_kind: Option<Arc<str>>,
    /// The name of a service token.
    pub service_name: Option<Arc<str>>,
    /// The region that the session belongs to.
    pub home_region: Option<Arc<str>>,
    /// With which Curfew asks the provider whether the subject may still be signed in.
    pub refresh_token: Option<Secret<String>>,
    /// When Curfew asks the provider.
    pub revalidation: Option<Revalidation>,
    /// Who ended the session: a kind and a name, such as `token:ci`.
    pub ended_by: Option<Arc<str>>,
}

/// With what, and when, the provider of a session is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshGrant {
    /// The refresh token.
    pub token: Secret<String>,
    /// When.
    pub revalidation: Revalidation,
}

impl Details {
    /// Those of a sign-in for this host, and what the provider gave to ask it with.
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

    /// What a tombstone keeps: nothing with which the provider could be asked.
    pub(super) fn of_tombstone(details: Arc<Self>) -> Option<Arc<Self>> {
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
