//! `GET /oidc/frontchannel-logout?iss=…&sid=…`: OpenID Connect Front-Channel Logout 1.0.
//!
//! The provider's logout page loads this address in a frame, usually without cookies of Curfew. So the provider's
//! session ID (`sid`) identifies the session. Only the provider, its applications and the person know this ID, and the
//! ID only allows a logout of that person. But anybody can send invented IDs, and each ID creates an entry in the
//! store. So the endpoint is off by default. The number of requests per minute is limited, for each address and in
//! total. The number of entries in the store is limited, too.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::front_channel_limiter::ReachedLimit;
use super::{LogoutEndpoints, Refusal, log_refusal, uncached_response};
use crate::actor::Actor;
use crate::credential::jwt::LogoutTarget;
use crate::current::Current;
use crate::telemetry::audit;

const CHANNEL: &str = "front-channel";

/// Returns 200 if the session has ended or is unknown, 429 for too many requests from one address, and 503 for too
/// many requests in total.
pub(super) async fn logout(
    Current(logouts): Current<LogoutEndpoints>,
    peer: Option<Extension<SocketAddr>>,
    request_headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !logouts.front_channel {
        return uncached_response(StatusCode::NOT_FOUND, ());
    }
    let address = logouts.address(&request_headers, peer);
    let query = query.as_deref().unwrap_or("");
    let mut response_headers = HeaderMap::new();
    let status = match logouts.accept_front_channel(query, address).await {
        Ok(()) => StatusCode::OK,
        Err(refusal) => {
            if matches!(
                refusal,
                Refusal::TooMany | Refusal::TooManyFromOneAddress | Refusal::CutOffsFull
            ) {
                response_headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
                logouts.metrics.sources.front_channel_refused.inc();
                if logouts
                    .replay_cache
                    .front_channel_limiter
                    .log_throttle
                    .admits(())
                {
                    log_refusal(&refusal, CHANNEL);
                }
            } else {
                log_refusal(&refusal, CHANNEL);
            }
            if matches!(refusal, Refusal::TooManyFromOneAddress) {
                StatusCode::TOO_MANY_REQUESTS
            } else if refusal.is_temporary() {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::BAD_REQUEST
            }
        }
    };
    // The response is an empty page that a page of the provider can frame.
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response_headers.insert(name, HeaderValue::from_static(value));
    }
    uncached_response(
        status,
        (response_headers, "<!doctype html>\n<title>Logout</title>"),
    )
}

impl LogoutEndpoints {
    async fn accept_front_channel(
        &self,
        query: &str,
        address: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let (mut iss, mut sid) = (None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let parameter = match &*name {
                "iss" => &mut iss,
                "sid" => &mut sid,
                _ => continue,
            };
            if parameter.replace(value.into_owned()).is_some() {
                return Err(Refusal::Unreadable);
            }
        }
        let sid = sid.filter(|sid| !sid.is_empty());
        let (Some(iss), Some(sid)) = (iss, sid) else {
            return Err(Refusal::Unreadable);
        };
        let mut issuers = self.issuers.iter();
        let source = issuers.find(|source| source.issuer.issuer == iss);
        let source = source.ok_or(Refusal::UnknownIssuer)?;
        let target = LogoutTarget {
            name: source.issuer.provider_session_subject(&sid),
            is_single_session: true,
            subject: None,
        };
        let now = self.clock.now();
        self.replay_cache
            .front_channel_limiter
            .try_count(address, now)
            .map_err(|limit| match limit {
                ReachedLimit::Address => Refusal::TooManyFromOneAddress,
                ReachedLimit::All => Refusal::TooMany,
            })?;
        if !self.lifecycle.accepts_unauthenticated_cut_off() {
            return Err(Refusal::CutOffsFull);
        }
        let actor = Actor::provider(&iss, address);
        let revoked = self
            .lifecycle
            .end_provider_sessions(&target, now, &actor)
            .await?;
        audit::provider_logout(&target, CHANNEL, revoked, &actor);
        Ok(())
    }
}
