use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::header::{EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answers::{status_response, text_response};
use super::forwarded::ClientView;
use super::forwarding::{ForwardError, Forwarding};
use super::headers::remove_hop_by_hop;
use super::router_input;
use super::upstreams::{NoUpstream, Upstreams};
use crate::admission::ConcurrencyLimit;
use crate::browser::BrowserService;
use crate::check::{CheckRequest, ClientAddress, InvalidUrl, Original, OriginalUrl, Outcome};
use crate::contract::{Contracts, remove_spellings, replace_identity};
use crate::listener::{ConnectionUse, Encryption, HttpService};
use crate::live::Live;
use crate::policy::Contract;
use crate::relay::{checked_method, is_extended_connect, requested_upgrade};

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
            return answer_own_path(browser, request, (peer, &client, &host)).await;
        }
        let is_extended_connect = is_extended_connect(&request);
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
        let method = checked_method(&request);
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let target = target.to_owned();
        let url = OriginalUrl::from_parts(client.secure, host.as_bytes(), target.as_bytes());
        let check = CheckRequest {
            contract: Contract::Proxy,
            policy: None,
            original: url
                .map(|url| Original::new(&method, url))
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
        if !upstream.health.is_healthy() {
            contracts.checker.metrics.streams.upstream_errors.inc();
            return Err(StatusCode::SERVICE_UNAVAILABLE);
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
        if is_extended_connect && upgrade.is_none() {
            // The method CONNECT would have another meaning for the application.
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
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
                Err(error.status())
            }
        }
    }
}

/// Answers a request for a path of Curfew itself.
async fn answer_own_path(
    browser: &BrowserService,
    mut request: Request<Body>,
    (peer, client, host): (SocketAddr, &ClientView, &str),
) -> Result<Response<Body>, StatusCode> {
    let host = HeaderValue::from_str(host).map_err(|_| StatusCode::BAD_REQUEST)?;
    request.headers_mut().insert(HOST, host);
    if !client.is_trusted {
        // The logout endpoints read the address of the sender from this header.
        request.headers_mut().remove(&client.address_header);
    }
    let extensions = request.extensions_mut();
    extensions.insert(peer);
    extensions.insert(ClientAddress::InField(client.address));
    Ok(browser.answer(request).await)
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

impl HttpService for ProxyService {
    const FORWARDS_STREAMS: bool = true;
    const MAX_STREAMS: u32 = 128;

    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.answer(request.map(Body::new), peer).await
    }
}
