use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, EXPECT, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::forwarded::{ClientView, add_via};
use super::headers::remove_hop_by_hop;
use super::router_input;
use super::settings::Target;
use super::upstream::Upstream;
use super::upstreams::{NoUpstream, Upstreams};
use crate::admission::ConcurrencyLimit;
use crate::browser::BrowserService;
use crate::check::{CheckRequest, ClientAddress, InvalidUrl, Original, OriginalUrl, Outcome};
use crate::contract::{Contracts, remove_spellings, replace_identity};
use crate::listener::{ConnectionUse, Encryption, HttpService, upgraded_io};
use crate::live::Live;
use crate::policy::Contract;
use crate::relay::{
    Upgrade, UpgradeKind, relay_request, relay_response, relay_upgraded, requested_upgrade,
};
use crate::session::DenyReason;
use crate::streams::StreamGuard;

/// The service of the proxy listener.
#[derive(Clone)]
pub struct ProxyService {
    parts: Arc<ProxyParts>,
}

struct ProxyParts {
    contracts: Live<Contracts>,
    upstreams: Live<Upstreams>,
    browser: BrowserService,
    encryption: Live<Encryption>,
    limit: ConcurrencyLimit,
}

/// An allowed request on its way to the application.
struct Forwarding {
    upstream: Arc<Upstream>,
    upgrade: Option<Upgrade>,
    /// Keeps the client's connection open while the stream is open.
    connection_use: Option<ConnectionUse>,
    /// The client's side of the upgrade.
    client_upgrade: OnUpgrade,
    is_extended_connect: bool,
    /// The stream; `None` for a public request, which has no session.
    guard: Option<Arc<StreamGuard>>,
    cookies: Vec<HeaderValue>,
}

/// Why a request got no answer from the application.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("no answer from the application: {0}")]
    Client(#[from] legacy::Error),
    #[error("the application did not answer in time")]
    Timeout,
    #[error("the application speaks only HTTP/2, which has no upgrade")]
    NoUpgrade,
    #[error("the application did not switch protocols")]
    NotSwitched,
    #[error("the application switched to a protocol that the client did not request")]
    UnexpectedSwitch,
    #[error("the path is not valid in a URI: {0}")]
    Uri(#[from] http::Error),
    /// The session ended before the answer.
    #[error("the session has ended: {0}")]
    Cut(DenyReason),
}

impl ProxyService {
    /// Creates the service. It answers requests for Curfew's own paths with `browser`. The limit applies to requests
    /// that wait for the head of their answer.
    #[must_use]
    pub fn new(
        contracts: Live<Contracts>,
        upstreams: Live<Upstreams>,
        browser: BrowserService,
        encryption: Live<Encryption>,
        limit: ConcurrencyLimit,
    ) -> Self {
        Self {
            parts: Arc::new(ProxyParts {
                contracts,
                upstreams,
                browser,
                encryption,
                limit,
            }),
        }
    }

    /// Answers a request of `peer`.
    pub async fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        self.try_answer(request, peer)
            .await
            .unwrap_or_else(status_response)
    }

    async fn try_answer(
        &self,
        mut request: Request<Body>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, StatusCode> {
        let ProxyParts {
            contracts,
            upstreams,
            browser,
            encryption,
            limit,
        } = &*self.parts;
        let (contracts, upstreams) = (contracts.current(), upstreams.current());
        let settings = &upstreams.settings;
        let path = request.uri().path().to_owned();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read && settings.health_path.as_ref() == Some(&path) {
            return Ok(text_response(StatusCode::OK, "ok\n"));
        }
        let host = router_input::host(&request)?;
        let client = ClientView::new(
            peer.ip(),
            encryption.current().is_some(),
            request.headers(),
            &settings.trusted_proxies,
            &contracts.checker.address,
        );
        if contracts.is_own_path(&path) {
            let value = HeaderValue::from_str(&host).map_err(|_| StatusCode::BAD_REQUEST)?;
            request.headers_mut().insert(HOST, value);
            if !client.is_trusted {
                // The logout endpoints read the address of the sender from this header.
                request.headers_mut().remove(&client.address_header);
            }
            let extensions = request.extensions_mut();
            extensions.insert(peer);
            extensions.insert(ClientAddress::InField(client.address));
            return Ok(browser.answer(request).await);
        }
        let is_extended_connect = request.extensions().get::<Protocol>().is_some();
        if *request.method() == Method::CONNECT && !is_extended_connect {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        check_expectation(&mut request)?;
        let upstream = upstreams.find(&host, path.as_bytes());
        let upstream = Arc::clone(upstream.map_err(|error| match error {
            NoUpstream::Unknown => StatusCode::MISDIRECTED_REQUEST,
            NoUpstream::AmbiguousPath => StatusCode::BAD_REQUEST,
        })?);
        let headers = request.headers().clone();
        // A WebSocket over HTTP/2 begins with CONNECT, and over HTTP/1.1 with GET. One rule applies to both.
        let method = match is_extended_connect {
            true => Method::GET,
            false => request.method().clone(),
        };
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let target = target.to_owned();
        let url = OriginalUrl::from_parts(client.secure, host.as_bytes(), target.as_bytes());
        let check = CheckRequest {
            contract: Contract::Proxy,
            policy: None,
            original: url
                .map(|url| Original {
                    method: &method,
                    url,
                })
                .map_err(|error: InvalidUrl| error.for_input("the request")),
            headers: &headers,
            address: ClientAddress::InField(client.address),
            peer: Some(peer.ip()),
        };
        let mut permit = limit.take();
        let outcome = match &permit {
            Some(_) => contracts.checker.check(&check).await,
            None => contracts.checker.shed(&check),
        };
        if !http_body::Body::is_end_stream(request.body()) {
            // A body can arrive slowly. So many slow uploads must not take the permits of other requests.
            permit = None;
        }
        let answer = contracts.reply(&check, &outcome);
        if answer.status() != StatusCode::OK {
            return Ok(answer.map(Body::from));
        }
        let (answer, _) = answer.into_parts();
        let denied = |reason| {
            let denial = contracts.denial(&check, &Outcome::denied(reason));
            denial.map(Body::from)
        };
        let guard = match &outcome.session {
            Some((id, session)) => match contracts.checker.open_stream(&check, *id, session) {
                Ok(guard) => Some(Arc::new(guard)),
                Err(reason) => return Ok(denied(reason)),
            },
            None => None,
        };
        let connection_use = request.extensions_mut().remove::<ConnectionUse>();
        let close = connection_use.as_ref().and_then(|it| it.close.clone());
        if let (Some(guard), Some(close)) = (&guard, close) {
            guard.set_close(close);
        }
        let upgrade = requested_upgrade(&request);
        // The client's `Connection` must not remove the identity that Curfew adds.
        remove_hop_by_hop(request.headers_mut());
        let forwarding = Forwarding {
            upgrade,
            connection_use,
            client_upgrade: hyper::upgrade::on(&mut request),
            is_extended_connect,
            guard,
            cookies: replace_identity(request.headers_mut(), &answer.headers),
            upstream,
        };
        let version = request.version();
        let request = strip_trailers(request, &answer.headers);
        let forwarded = forwarding.forward(request, &client, &host, version).await;
        drop(permit);
        match forwarded {
            Ok(response) => Ok(response),
            Err(ForwardError::Cut(reason)) => Ok(denied(reason)),
            Err(error) => {
                contracts.checker.metrics.streams.upstream_errors.inc();
                tracing::warn!(%host, %error, "could not forward a request");
                Err(match error {
                    ForwardError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                    ForwardError::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
                    ForwardError::Uri(_) => StatusCode::BAD_REQUEST,
                    _ => StatusCode::BAD_GATEWAY,
                })
            }
        }
    }
}

impl Forwarding {
    async fn forward(
        self,
        mut request: Request<Body>,
        client: &ClientView,
        host: &str,
        version: Version,
    ) -> Result<Response<Body>, ForwardError> {
        let settings = &self.upstream.settings;
        client.write(request.headers_mut(), host, version);
        let authority = settings.target.authority();
        let sent_host = match settings.preserve_host {
            true => host,
            false => authority.as_str(),
        };
        *request.uri_mut() = upstream_uri(settings.target.clone(), sent_host, request.uri())?;
        if let Ok(value) = HeaderValue::from_str(sent_host) {
            request.headers_mut().insert(HOST, value);
        }
        *request.version_mut() = Version::HTTP_11;
        if let Some(upgrade) = &self.upgrade {
            self.ask_for_upgrade(&mut request, upgrade);
        }
        request.extensions_mut().clear();
        let (request_end, request) = signal_end(request);
        let request = match &self.guard {
            Some(guard) => relay_request(request, Arc::clone(guard)),
            None => request,
        };
        let response_timeout = settings.response_timeout;
        let timeout = async move {
            // The sender is dropped with the body.
            let _ = request_end.await;
            tokio::time::sleep(response_timeout).await;
        };
        let sending = async {
            match &self.upgrade {
                None => Ok(self.upstream.send(request).await?),
                Some(_) => {
                    let sent = self.upstream.send_upgrade(request).await;
                    Ok(sent.ok_or(ForwardError::NoUpgrade)??)
                }
            }
        };
        let cut = async {
            match &self.guard {
                Some(guard) => guard.cut().await,
                None => std::future::pending().await,
            }
        };
        let response = tokio::select! {
            biased;
            sent = sending => sent.map_err(|error| {
                // A cut also ends the body of the request, which looks like an error of the application.
                let reason = self.guard.as_ref().and_then(|guard| guard.stream().cut_reason());
                reason.map_or(error, ForwardError::Cut)
            }),
            reason = cut => Err(ForwardError::Cut(reason)),
            () = timeout => Err(ForwardError::Timeout),
        };
        self.finish(response?, version)
    }

    /// Sets the headers of a request for an upgrade. A WebSocket over HTTP/2 becomes one over HTTP/1.1 (RFC 8441,
    /// section 5).
    fn ask_for_upgrade(&self, request: &mut Request<Body>, upgrade: &Upgrade) {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, upgrade.protocol.clone());
        if self.is_extended_connect {
            if upgrade.kind == UpgradeKind::WebSocket {
                headers.insert(SEC_WEBSOCKET_KEY, websocket_key());
                headers
                    .entry(SEC_WEBSOCKET_VERSION)
                    .or_insert(HeaderValue::from_static("13"));
            }
            *request.method_mut() = Method::GET;
        }
    }

    /// Turns the answer of the application into the answer for the client.
    fn finish(
        self,
        mut response: Response<Incoming>,
        version: Version,
    ) -> Result<Response<Body>, ForwardError> {
        let has_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let upstream_version = response.version();
        *response.version_mut() = Version::HTTP_11;
        let accepted = self
            .upgrade
            .filter(|upgrade| upgrade.is_accepted_by(response.headers()));
        remove_hop_by_hop(response.headers_mut());
        add_via(response.headers_mut(), upstream_version);
        for cookie in self.cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if !has_switched {
            // Over HTTP/2, a success would tell the client that the WebSocket is open.
            if self.is_extended_connect && response.status().is_success() {
                return Err(ForwardError::NotSwitched);
            }
            let response = response.map(Body::new);
            return Ok(match self.guard {
                Some(guard) => relay_response(response, guard),
                None => response,
            });
        }
        let Some(upgrade) = accepted else {
            return Err(ForwardError::UnexpectedSwitch);
        };
        let upstream_upgrade = hyper::upgrade::on(&mut response);
        let connection_use = self.connection_use;
        let relaying = relay(
            self.client_upgrade,
            upstream_upgrade,
            upgrade.kind,
            self.guard,
        );
        tokio::spawn(async move {
            relaying.await;
            drop(connection_use);
        });
        let headers = response.headers_mut();
        if version == Version::HTTP_2 {
            headers.remove(http::header::SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, upgrade.protocol);
        }
        Ok(response.map(|_| Body::empty()))
    }
}

/// Relays an upgraded connection after both sides have switched protocols.
async fn relay(
    client: OnUpgrade,
    upstream: OnUpgrade,
    kind: UpgradeKind,
    guard: Option<Arc<StreamGuard>>,
) {
    let both = async { tokio::try_join!(client, upstream) };
    let cut = async {
        match &guard {
            Some(guard) => guard.cut().await,
            None => std::future::pending().await,
        }
    };
    let both = tokio::select! {
        both = both => both,
        _ = cut => return,
    };
    let (client, upstream) = match both {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "could not switch protocols");
            return;
        }
    };
    let (client, upstream) = (upgraded_io(client), TokioIo::new(upstream));
    if let Err(error) = relay_upgraded(client, upstream, kind, guard).await {
        tracing::debug!(%error, "upgraded connection failed");
    }
}

/// Answers the expectation of a request: Curfew answers `100-continue` itself, as soon as the body is read. It refuses
/// any other expectation with 417 (RFC 9110, section 10.1.1).
fn check_expectation(request: &mut Request<Body>) -> Result<(), StatusCode> {
    let Some(expectation) = request.headers_mut().remove(EXPECT) else {
        return Ok(());
    };
    match expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        true => Ok(()),
        false => Err(StatusCode::EXPECTATION_FAILED),
    }
}

/// The URI of the request to the application. HTTP/2 sends the authority of the URI to the application, so the URI
/// contains the host that the application must see.
fn upstream_uri(target: Target, host: &str, uri: &Uri) -> Result<Uri, http::Error> {
    let uri = target.uri(uri)?;
    if matches!(target, Target::Http(_) | Target::Unix(_)) {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.authority = Some(host.parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// Removes identity headers from the trailers of a request.
fn strip_trailers(request: Request<Body>, answer: &HeaderMap) -> Request<Body> {
    if http_body::Body::is_end_stream(request.body()) {
        return request;
    }
    let names: Vec<HeaderName> = answer.keys().cloned().collect();
    request.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                remove_spellings(&mut trailers, names.iter());
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

/// Returns a receiver that is ready when the body of the request has ended or was dropped.
fn signal_end(request: Request<Body>) -> (oneshot::Receiver<()>, Request<Body>) {
    let (sender, receiver) = oneshot::channel::<()>();
    if http_body::Body::is_end_stream(request.body()) {
        return (receiver, request);
    }
    let request = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // The closure owns the sender until the body is dropped.
            let _ = &sender;
            frame
        }))
    });
    (receiver, request)
}

/// A random key of a WebSocket handshake (RFC 6455, section 4.1).
fn websocket_key() -> HeaderValue {
    let mut key = [0; 16];
    // The key only prevents that a cache answers. A key of zeros is valid.
    let _ = getrandom::fill(&mut key);
    HeaderValue::from_str(&STANDARD.encode(key))
        .unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

fn status_response(status: StatusCode) -> Response<Body> {
    let text = match status {
        StatusCode::MISDIRECTED_REQUEST => "No application has this host.\n",
        StatusCode::BAD_GATEWAY => "The application did not answer.\n",
        StatusCode::GATEWAY_TIMEOUT => "The application did not answer in time.\n",
        StatusCode::NOT_IMPLEMENTED => "The application does not support this upgrade.\n",
        StatusCode::EXPECTATION_FAILED => "This expectation is not supported.\n",
        StatusCode::METHOD_NOT_ALLOWED => "This method is not allowed.\n",
        _ => "The request is not valid.\n",
    };
    text_response(status, text)
}

fn text_response(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, content_type);
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    response
}

impl HttpService for ProxyService {
    const FORWARDS_STREAMS: bool = true;
    const MAX_STREAMS: u32 = 128;

    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.answer(request.map(Body::new), peer).await
    }
}
