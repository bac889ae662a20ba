//! A tower layer: protects a service in the same process, without a proxy.
//!
//! The checked request is the request that the layer receives. The layer replaces the client's identity headers, as
//! proxies do, and puts the session into an extension ([`LiveSession`]). It also serves the browser endpoints below
//! `/.curfew/`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HOST, SET_COOKIE};
use http::{HeaderMap, Request};
use tower::{Layer, Service, ServiceExt};

use super::Contracts;
use super::reply::{ReplyForm, build_reply};
use crate::check::{CheckRequest, ClientAddress, MalformedOriginal, Original, OriginalUrl};
use crate::live::Live;
use crate::policy::Contract;
use crate::session::{Session, SessionId};

/// The layer that checks each request before the service receives it.
#[derive(Clone)]
pub struct CurfewLayer {
    contracts: Live<Contracts>,
    browser: axum::Router,
    secure: bool,
}

/// A service behind the layer. It receives only requests with a live session, and public requests.
#[derive(Clone)]
pub struct Protected<S> {
    inner: S,
    layer: CurfewLayer,
}

/// The session of an allowed request. The layer puts it into the extensions of the request.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// The ID of the session.
    pub id: SessionId,
    /// The session's record, with the activity of this request.
    pub session: Session,
}

impl CurfewLayer {
    /// Creates the layer. Requests below `/.curfew/` go to `browser`. `secure` is true if clients use TLS, even if a
    /// proxy terminates TLS.
    #[must_use]
    pub const fn new(contracts: Live<Contracts>, browser: axum::Router, secure: bool) -> Self {
        Self {
            contracts,
            browser,
            secure,
        }
    }
}

impl<S> Layer<S> for CurfewLayer {
    type Service = Protected<S>;

    fn layer(&self, inner: S) -> Protected<S> {
        Protected {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S> Service<Request<Body>> for Protected<S>
where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Only the original service reported that it is ready, not its clone. So call the original, and keep the
        // clone.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        Box::pin(layer.serve(inner, request))
    }
}

impl CurfewLayer {
    async fn serve<S>(self, mut inner: S, mut request: Request<Body>) -> Result<Response, S::Error>
    where
        S: Service<Request<Body>, Response = Response>,
    {
        if request.uri().path().starts_with("/.curfew/") {
            let peer = request.extensions().get().map(SocketAddr::ip);
            request
                .extensions_mut()
                .insert(ClientAddress::InField(peer));
            let Ok(response) = self.browser.oneshot(request).await;
            return Ok(response);
        }
        let contracts = self.contracts.current();
        let peer: Option<&SocketAddr> = request.extensions().get();
        let peer = peer.map(SocketAddr::ip);
        let (host, method) = (host(&request), request.method().clone());
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let target = target.to_owned();
        let missing = MalformedOriginal::missing("Host");
        let url = host.as_deref().ok_or(missing).and_then(|host| {
            let url = OriginalUrl::from_parts(self.secure, host.as_bytes(), target.as_bytes());
            url.map_err(|invalid| invalid.for_input("the request"))
        });
        let check = CheckRequest {
            contract: Contract::Layer,
            policy: None,
            original: url.map(|url| Original {
                method: &method,
                url,
            }),
            headers: request.headers(),
            address: ClientAddress::InField(peer),
            peer,
        };
        let outcome = contracts.checker.check(&check).await;
        let answer = build_reply(&contracts, &check, &outcome, ReplyForm::Complete);
        if answer.status() != http::StatusCode::OK {
            return Ok(answer.map(Body::from));
        }
        let (answer, _) = answer.into_parts();
        let cookies = replace_identity(request.headers_mut(), &answer.headers);
        if let Some((id, session)) = outcome.session {
            request.extensions_mut().insert(LiveSession { id, session });
        }
        let mut response = inner.call(request).await?;
        for cookie in cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

/// Replaces the client's identity headers with the identity headers of the answer. Returns the cookies for the
/// client.
fn replace_identity(headers: &mut HeaderMap, answer: &HeaderMap) -> Vec<http::HeaderValue> {
    let is_identity_header =
        |name: &&http::HeaderName| **name != CACHE_CONTROL && **name != SET_COOKIE;
    for name in answer.keys().filter(is_identity_header) {
        headers.remove(name);
        for value in answer.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    answer.get_all(SET_COOKIE).iter().cloned().collect()
}

/// The host of the request; `None` if it is missing or ambiguous.
fn host(request: &Request<Body>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = request.headers().get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
