//! What identity providers tell: that somebody has logged out there.
//!
//! Three ways, all of them on the `browser` listener: OpenID Connect Back-Channel Logout 1.0 and
//! Front-Channel Logout 1.0, and security events that are pushed (RFC 8935).

mod back_channel;
mod events;
mod front_channel;
mod front_limit;
mod replay_cache;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::actor::Actor;
use crate::credential::jwt::{InvalidJwt, InvalidNotice, Issuer, KeySet, Notice};
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::policy::AddressHeader;
use crate::session::Timestamp;
use crate::sources::{JwtSource, Unverified};
use crate::store::StoreError;
use crate::telemetry::audit;

pub use replay_cache::ReplayCache;

/// The most bytes of a notice; more than any provider sends.
const MAX_NOTICE_BYTES: usize = 64 * 1024;

/// How times are written that are whole seconds: what began in the same one is meant.
const ONE_SECOND: Duration = Duration::from_secs(1);

/// Takes notices.
pub struct LogoutEndpoints {
    /// Ends sessions.
    pub lifecycle: Lifecycle,
    /// Those who may tell.
    pub issuers: Vec<JwtSource>,
    /// Whether the front channel is open.
    pub front_channel: bool,
    /// The notices that were taken a moment ago.
    pub seen: Arc<ReplayCache>,
    /// Finds the client's address.
    pub address: AddressHeader,
}

/// Why a notice is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is no notice")]
    Unreadable,
    #[error("it is not from an issuer that is configured")]
    UnknownIssuer,
    #[error(transparent)]
    Invalid(InvalidNotice),
    #[error("it came before")]
    Replayed,
    #[error("the issuer's keys are not known")]
    NoKeys,
    #[error("too many front-channel logouts in a minute")]
    TooMany,
    #[error("too many front-channel logouts in a minute from one address")]
    TooManyFromOneAddress,
    #[error("half of the cut-offs are taken: only administrators and signed notices can add more")]
    NoRoom,
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Whether it is us: the same notice may be taken later.
    const fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::NoKeys | Self::TooMany | Self::NoRoom | Self::Store(_)
        )
    }
}

/// How a kind of notice is verified.
type Verify = fn(&Issuer, &str, &KeySet, Timestamp) -> Result<Notice, InvalidNotice>;

/// The routes, for the `browser` listener.
pub fn router(logouts: Live<LogoutEndpoints>) -> Router {
    Router::new()
        .route("/oidc/backchannel-logout", post(back_channel::logout))
        .route("/oidc/frontchannel-logout", get(front_channel::logout))
        .route("/ssf/events", post(events::receive))
        .layer(DefaultBodyLimit::max(MAX_NOTICE_BYTES))
        .layer(map_response(crate::escape_json::json_response))
        .with_state(logouts)
}

impl LogoutEndpoints {
    /// Where a notice comes from: by the header of the proxy in front, or by the connection.
    fn address(&self, headers: &HeaderMap, peer: Option<Extension<SocketAddr>>) -> Option<IpAddr> {
        let peer = peer.map(|Extension(peer)| peer.ip().to_canonical());
        self.address.read(headers).or(peer)
    }

    /// Takes a notice: ends what it says, once.
    async fn take(
        &self,
        text: &str,
        by: &'static str,
        verify: Verify,
        address: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let source = JwtSource::of(&self.issuers, text).ok_or(Refusal::UnknownIssuer)?;
        let clock = &*self.lifecycle.clock;
        let verified = source.verified(text, clock, verify, InvalidNotice::is_unknown_key);
        let notice = match verified.await {
            Ok(notice) => notice,
            Err(Unverified::Invalid(invalid)) => return Err(Refusal::Invalid(invalid)),
            Err(Unverified::NoKeys) => return Err(Refusal::NoKeys),
        };
        let issuer = &*source.issuer.issuer;
        let Some(begun) = self.seen.begin(issuer, &notice.id, clock.now()) else {
            return Err(Refusal::Replayed);
        };
        if let Some(whom) = &notice.ended {
            // A session of the provider's is over for good; a subject may have signed in again since,
            // and a notice that comes again must not end that.
            let before = if whom.one {
                clock.now()
            } else {
                notice.issued.plus(ONE_SECOND)
            };
            let actor = Actor::provider(issuer, address);
            let revoked = self.lifecycle.end_of_provider(whom, before, &actor).await?;
            audit::provider_logout(whom, by, revoked, &actor);
        }
        begun.done();
        Ok(())
    }
}

/// Tells the operator why a notice was not taken.
fn tell(refusal: &Refusal, by: &'static str) {
    tracing::warn!(%refusal, by, "an identity provider's notice was not taken");
}

/// An answer that nobody keeps.
fn uncached(status: StatusCode, rest: impl IntoResponse) -> Response {
    let mut response = (status, rest).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
