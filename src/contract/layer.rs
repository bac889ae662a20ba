//! A tower layer: protects a service in the same process, without a proxy.
//!
//! The checked request is the request that the layer receives. The layer replaces the client's identity headers, as
//! proxies do, and puts the session into an extension ([`LiveSession`]). It also serves the browser endpoints below
//! `/.curfew/`.
//!
//! A request that stays open, such as a WebSocket or an event stream, ends with its session. The layer relays upgraded
//! connections itself, so that it can close them with the reason.

mod bridge;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::header::{HOST, SET_COOKIE};
use http::{Request, StatusCode};
use tower::{Layer, Service, ServiceExt};

use super::{Contracts, replace_identity};
use crate::check::{
    CheckRequest, ClientAddress, MalformedOriginal, Original, OriginalUrl, Outcome,
};
use crate::live::Live;
use crate::policy::Contract;
use crate::relay::{checked_method, relay_request, relay_response, requested_upgrade};
use crate::session::{DenyReason, Session, SessionId};
use crate::streams::StreamGuard;
use bridge::BridgeError;

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
    S::Error: Send + 'static,
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
    async fn serve<S>(self, inner: S, mut request: Request<Body>) -> Result<Response, S::Error>
    where
        S: Service<Request<Body>, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
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
        let (host, method) = (host(&request), checked_method(&request));
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let target = target.to_owned();
        let missing = MalformedOriginal::missing("Host");
        let url = host.as_deref().ok_or(missing).and_then(|host| {
            let url = OriginalUrl::from_parts(self.secure, host.as_bytes(), target.as_bytes());
            url.map_err(|invalid| invalid.for_input("the request"))
        });
        // The request changes on its way to the service, and a later denial depends on the headers of the client.
        let headers = request.headers().clone();
        let check = CheckRequest {
            contract: Contract::Layer,
            policy: None,
            original: url.map(|url| Original::new(&method, url)),
            headers: &headers,
            address: ClientAddress::InField(peer),
            peer,
        };
        let outcome = contracts.checker.check(&check).await;
        let answer = contracts.reply(&check, &outcome);
        if answer.status() != StatusCode::OK {
            return Ok(answer.map(Body::from));
        }
        let (answer, _) = answer.into_parts();
        let cookies = replace_identity(request.headers_mut(), &answer.headers);
        let forwarded = match outcome.session {
            Some((id, session)) => {
                let opened = contracts.checker.open_stream(&check, id, &session);
                request.extensions_mut().insert(LiveSession { id, session });
                match opened {
                    Ok(guard) => forward(inner, request, Arc::new(guard)).await?,
                    Err(reason) => Err(reason),
                }
            }
            None => {
                let mut inner = inner;
                Ok(inner.call(request).await?)
            }
        };
        let mut response = match forwarded {
            Ok(response) => response,
            Err(reason) => {
                let denial = contracts.denial(&check, &Outcome::denied(reason));
                return Ok(denial.map(Body::from));
            }
        };
        for cookie in cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

/// Calls the service for an allowed request, and ends the answer when the stream is cut. The inner error is the reason
/// of a cut before the head of the answer.
async fn forward<S>(
    mut inner: S,
    mut request: Request<Body>,
    guard: Arc<StreamGuard>,
) -> Result<Result<Response, DenyReason>, S::Error>
where
    S: Service<Request<Body>, Response = Response> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
{
    let upgrade = requested_upgrade(&request).map(|upgrade| upgrade.kind);
    if upgrade.is_none() {
        // Otherwise the service could take over a connection that the layer does not relay.
        drop(hyper::upgrade::on(&mut request));
    }
    let request = relay_request(request, Arc::clone(&guard));
    let stream = Arc::clone(&guard);
    let answer = async move {
        match upgrade {
            None => Ok(relay_response(inner.call(request).await?, stream)),
            Some(kind) => match bridge::call_with_upgrade(inner, request, kind, stream).await {
                Ok(response) => Ok(response),
                Err(BridgeError::Service(error)) => Err(error),
                Err(BridgeError::Connection(error)) => {
                    tracing::warn!(%error, "no answer from the protected service");
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    Ok(response)
                }
            },
        }
    };
    tokio::select! {
        biased;
        answer = answer => answer.map(Ok),
        reason = guard.cut() => Ok(Err(reason)),
    }
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
