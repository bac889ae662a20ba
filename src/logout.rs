//! Logout notices from identity providers.
//!
//! The `browser` listener serves three protocols: OpenID Connect Back-Channel Logout 1.0, Front-Channel Logout 1.0,
//! and security events with push delivery (RFC 8935).

mod back_channel;
mod events;
mod front_channel;
mod front_channel_limiter;
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
use crate::clock::Clock;
use crate::credential::jwt::{InvalidJwt, InvalidNotice, Issuer, KeySet, Notice};
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::policy::AddressHeader;
use crate::session::Timestamp;
use crate::sources::{JwtSource, VerificationError};
use crate::store::StoreError;
use crate::telemetry::{Metrics, audit};

pub use replay_cache::ReplayCache;

/// The maximum size of a notice. No provider sends larger notices.
const MAX_NOTICE_BYTES: usize = 64 * 1024;

/// Curfew adds this duration to the time of a notice, because that time has whole seconds. So a notice also ends
/// sessions that started in the same second.
const ISSUE_TIME_PRECISION: Duration = Duration::from_secs(1);

/// The state of the logout endpoints.
pub struct LogoutEndpoints {
    /// Ends sessions.
    pub lifecycle: Lifecycle,
    /// The clock for decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// Counts refused notices.
    pub metrics: Arc<Metrics>,
    /// The issuers whose notices are accepted.
    pub issuers: Vec<JwtSource>,
    /// Whether front-channel logout is enabled.
    pub front_channel: bool,
    /// The IDs of recently accepted notices, so that Curfew can reject a repeated notice.
    pub replay_cache: Arc<ReplayCache>,
    /// Reads the client address from a proxy header.
    pub address: AddressHeader,
}

/// Why a notice was rejected.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no readable logout notice in the request")]
    Unreadable,
    #[error("unknown issuer")]
    UnknownIssuer,
    #[error(transparent)]
    Invalid(InvalidNotice),
    #[error("replayed notice: a notice with the same `jti` was accepted before")]
    Replayed,
    #[error("no usable keys of the issuer: its JWKS could not be fetched, or is too old")]
    NoKeys,
    #[error("front-channel limit reached: too many logouts in a minute")]
    TooMany,
    #[error("front-channel limit reached: too many logouts in a minute from one address")]
    TooManyFromOneAddress,
    #[error(
        "the table of cut-offs is half full: only the admin API, the console and signed notices can add more cut-offs"
    )]
    CutOffsFull,
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Whether the cause is temporary and not an error of the provider. The same notice may be accepted later.
    const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::NoKeys | Self::TooMany | Self::CutOffsFull | Self::Store(_)
        )
    }
}

/// Verifies one kind of notice.
type VerifyNotice = fn(&Issuer, &str, &KeySet, Timestamp) -> Result<Notice, InvalidNotice>;

/// Builds the logout routes of the `browser` listener.
pub fn router(logouts: Live<LogoutEndpoints>) -> Router {
    Router::new()
        .route("/oidc/backchannel-logout", post(back_channel::logout))
        .route("/oidc/frontchannel-logout", get(front_channel::logout))
        .route("/ssf/events", post(events::receive))
        .layer(DefaultBodyLimit::max(MAX_NOTICE_BYTES))
        .layer(map_response(crate::escape_json::escape_json_response))
        .with_state(logouts)
}

impl LogoutEndpoints {
    /// Returns the address of the sender from the proxy header, or else from the connection.
    fn address(&self, headers: &HeaderMap, peer: Option<Extension<SocketAddr>>) -> Option<IpAddr> {
        let peer = peer.map(|Extension(peer)| peer.ip().to_canonical());
        self.address.read(headers).or(peer)
    }

    /// Verifies a notice and ends the sessions that it names. Each notice is accepted once.
    async fn accept(
        &self,
        text: &str,
        channel: &'static str,
        verify: VerifyNotice,
        address: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let source = JwtSource::of(&self.issuers, text).ok_or(Refusal::UnknownIssuer)?;
        let clock = &*self.clock;
        let verified =
            source.verify_with_current_keys(text, clock, verify, InvalidNotice::is_unknown_key);
        let notice = match verified.await {
            Ok(notice) => notice,
            Err(VerificationError::Invalid(invalid)) => return Err(Refusal::Invalid(invalid)),
            Err(VerificationError::NoKeys) => return Err(Refusal::NoKeys),
        };
        let issuer = &*source.issuer.issuer;
        let Some(pending) = self.replay_cache.begin(issuer, &notice.id, clock.now()) else {
            return Err(Refusal::Replayed);
        };
        if let Some(target) = &notice.ended {
            // A session that has ended at the provider never becomes live again, so end all sessions in Curfew that
            // started from it up to now. But after a notice about all sessions of a subject, the subject may sign in
            // again, and a repeated notice must not end the new session.
            let before = if target.is_single_session {
                clock.now()
            } else {
                notice.issued.plus(ISSUE_TIME_PRECISION)
            };
            let actor = Actor::provider(issuer, address);
            let revoked = self
                .lifecycle
                .end_provider_sessions(target, before, &actor)
                .await?;
            audit::provider_logout(target, channel, revoked, &actor);
        }
        pending.confirm();
        Ok(())
    }
}

fn log_refusal(refusal: &Refusal, channel: &'static str) {
    tracing::warn!(%refusal, by = channel, "logout notice rejected");
}

/// Builds a response that caches must not store.
fn uncached_response(status: StatusCode, rest: impl IntoResponse) -> Response {
    let mut response = (status, rest).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
