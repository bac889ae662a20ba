use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SET_COOKIE,
    UPGRADE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy;
use tokio::sync::oneshot;

use super::forwarded::{ClientView, add_via};
use super::headers::remove_hop_by_hop;
use super::upstream::Upstream;
use crate::listener::{ConnectionUse, upgraded_io};
use crate::relay::{
    Upgrade, UpgradeKind, relay_after_switch, relay_request, relay_response, remove_extensions,
    wait_for_cut,
};
use crate::session::DenyReason;
use crate::streams::StreamGuard;

/// An allowed request on its way to the application.
pub(super) struct Forwarding {
    pub(super) upstream: Arc<Upstream>,
    pub(super) upgrade: Option<Upgrade>,
    /// Keeps the client's connection open while the stream is open.
    pub(super) connection_use: Option<ConnectionUse>,
    /// The client's side of the upgrade.
    pub(super) client_upgrade: OnUpgrade,
    pub(super) is_extended_connect: bool,
    /// The stream; `None` for a public request, which has no session.
    pub(super) guard: Option<Arc<StreamGuard>>,
    pub(super) cookies: Vec<HeaderValue>,
}

/// Why a request got no answer from the application.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
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

impl ForwardError {
    /// The status of the answer to the client.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Uri(_) => StatusCode::BAD_REQUEST,
            Self::Client(_) | Self::NotSwitched | Self::UnexpectedSwitch | Self::Cut(_) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }
}

impl Forwarding {
    /// Forwards the request, and returns the answer for the client.
    pub(super) async fn forward(
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
        *request.uri_mut() = self.upstream.uri(sent_host, request.uri())?;
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
        let response = tokio::select! {
            biased;
            sent = sending => sent.map_err(|error| {
                // A cut also ends the body of the request, which looks like an error of the application.
                let reason = self.guard.as_ref().and_then(|guard| guard.stream().cut_reason());
                reason.map_or(error, ForwardError::Cut)
            }),
            reason = wait_for_cut(self.guard.as_deref()) => Err(ForwardError::Cut(reason)),
            () = timeout => Err(ForwardError::Timeout),
        };
        self.finish(response?, version)
    }

    /// Sets the headers of a request for an upgrade. A WebSocket over HTTP/2 becomes one over HTTP/1.1 (RFC 8441,
    /// section 5).
    fn ask_for_upgrade(&self, request: &mut Request<Body>, upgrade: &Upgrade) {
        let headers = request.headers_mut();
        remove_extensions(headers, self.guard.as_deref());
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
        let relaying = relay_after_switch(
            self.client_upgrade,
            upgraded_io,
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
            headers.remove(SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, upgrade.protocol);
        }
        Ok(response.map(|_| Body::empty()))
    }
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
