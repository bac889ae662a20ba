//! Calls a service over an in-memory connection, so that the layer can relay an upgraded connection.
//!
//! A service takes over an upgraded connection through the extension [`OnUpgrade`], which only hyper can create. So the
//! layer gives the service a connection of its own, and relays its bytes to the connection of the client.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tower::Service;

use crate::relay::{
    UpgradeKind, is_extended_connect, relay_after_switch, relay_response, remove_extensions,
};
use crate::streams::StreamGuard;

/// The size of the buffer of the in-memory connection, in each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Why the service gave no answer over the in-memory connection.
pub(super) enum BridgeError<E> {
    /// The service returned this error.
    Service(E),
    /// The connection failed.
    Connection(hyper::Error),
}

/// Sends the request to the service. If the service switches protocols, relays the connection until it ends or the
/// stream is cut.
pub(super) async fn call_with_upgrade<S>(
    inner: S,
    mut request: Request<Body>,
    kind: UpgradeKind,
    guard: Arc<StreamGuard>,
) -> Result<Response, BridgeError<S::Error>>
where
    S: Service<Request<Body>, Response = Response> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
{
    remove_extensions(request.headers_mut(), Some(&guard));
    let client_upgrade = hyper::upgrade::on(&mut request);
    let is_extended_connect = is_extended_connect(&request);
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let error = Arc::new(Mutex::new(None));
    let extensions = std::mem::take(request.extensions_mut());
    let protocol = extensions.get::<Protocol>().cloned();
    let call = SingleCall {
        inner: Mutex::new(Some((inner, extensions))),
        error: Arc::clone(&error),
    };
    tokio::spawn(call.serve(far, is_extended_connect));
    let sent = if is_extended_connect {
        protocol.map(|protocol| request.extensions_mut().insert(protocol));
        send_http2(near, request).await
    } else {
        send_http1(near, request).await
    };
    let mut response = match sent {
        Ok(response) => response,
        Err(failure) => {
            let error = error.lock().take();
            return Err(error.map_or(BridgeError::Connection(failure), BridgeError::Service));
        }
    };
    let has_switched = match is_extended_connect {
        true => response.status().is_success(),
        false => response.status() == http::StatusCode::SWITCHING_PROTOCOLS,
    };
    if !has_switched {
        return Ok(relay_response(response.map(Body::new), guard));
    }
    let service_upgrade = hyper::upgrade::on(&mut response);
    tokio::spawn(relay_after_switch(
        client_upgrade,
        TokioIo::new,
        service_upgrade,
        kind,
        Some(guard),
    ));
    Ok(response.map(|_| Body::empty()))
}

async fn send_http1(
    near: DuplexStream,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

async fn send_http2(
    near: DuplexStream,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await?;
    // The first frame of the server says that it accepts the extended CONNECT method (RFC 8441, section 3). Hyper reads
    // this frame in a task of its own, and does not report its arrival.
    while !connection.is_extended_connect_protocol_enabled() && !sender.is_closed() {
        tokio::task::yield_now().await;
    }
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The service, for exactly one request with these extensions.
struct SingleCall<S: Service<Request<Body>>> {
    inner: Mutex<Option<(S, http::Extensions)>>,
    /// The error of the service, which does not fit through the connection.
    error: Arc<Mutex<Option<S::Error>>>,
}

impl<S> SingleCall<S>
where
    S: Service<Request<Body>, Response = Response> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
{
    /// Serves the connection until it ends or switches protocols.
    async fn serve(self, far: DuplexStream, is_http2: bool) {
        let call = Arc::new(self);
        let service = service_fn(move |request: Request<Incoming>| {
            let call = Arc::clone(&call);
            async move { call.answer(request.map(Body::new)).await }
        });
        let io = TokioIo::new(far);
        let served = if is_http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .enable_connect_protocol()
                .serve_connection(io, service)
                .await
        } else {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .with_upgrades()
                .await
        };
        if let Err(error) = served {
            tracing::debug!(%error, "in-memory connection failed");
        }
    }

    async fn answer(&self, mut request: Request<Body>) -> Result<Response, ServiceFailed> {
        let taken = self.inner.lock().take();
        let Some((mut inner, mut extensions)) = taken else {
            return Err(ServiceFailed);
        };
        // The extensions of this connection, such as its upgrade, replace those of the client's connection.
        extensions.extend(std::mem::take(request.extensions_mut()));
        *request.extensions_mut() = extensions;
        match inner.call(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                *self.error.lock() = Some(error);
                Err(ServiceFailed)
            }
        }
    }
}

/// The service returned an error.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the service returned an error")]
struct ServiceFailed;
