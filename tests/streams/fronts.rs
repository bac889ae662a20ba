//! Clients of the proxy listener.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The version of HTTP between the client and Curfew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Http1,
    Http2,
}

impl Front {
    pub const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// Sends a request on a new connection. Returns the answer without its body.
    pub async fn send(
        self,
        address: SocketAddr,
        mut request: Request<BoxBody<Bytes, std::io::Error>>,
    ) -> Response<Incoming> {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        match self {
            Self::Http1 => {
                let host = request.uri().authority().unwrap().as_str().parse().unwrap();
                request.headers_mut().insert("host", host);
                let path = request.uri().path_and_query().unwrap().as_str().parse();
                *request.uri_mut() = path.unwrap();
                let handshake = hyper::client::conn::http1::handshake(stream);
                let (mut sender, connection) = handshake.await.unwrap();
                tokio::spawn(connection.with_upgrades());
                sender.send_request(request).await.unwrap()
            }
            Self::Http2 => {
                let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
                let (mut sender, connection) = handshake.await.unwrap();
                while !connection.is_extended_connect_protocol_enabled() {
                    tokio::task::yield_now().await;
                }
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
        }
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
}

/// Reads the body of an answer.
///
/// # Errors
/// The text of the error if the body is incomplete.
pub async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.map_err(|error| error.to_string())?;
    let trailers = collected.trailers().cloned();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(collected.to_bytes().to_vec()).unwrap(),
        trailers,
    })
}
