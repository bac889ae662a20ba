//! The application behind the proxy listener, over each kind of connection.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::tls::Certificates;

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Http,
    Https,
    H2c,
    Unix,
}

impl TargetKind {
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::H2c, Self::Unix];
}

/// The slow answer: its number of chunks of 1,000 bytes, and the time between two chunks.
pub const SLOW_CHUNKS: u64 = 60;
pub const SLOW_INTERVAL: Duration = Duration::from_secs(1);

type AnswerBody = BoxBody<Bytes, std::io::Error>;

/// The heads of the requests that the application has received.
pub type ReceivedHeads = Arc<Mutex<Vec<(http::request::Parts, Bytes, Option<HeaderMap>)>>>;

/// A connection from Curfew.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Serves a connection. The second argument is true for HTTP/2.
pub type Serve = fn(Box<dyn Connection>, bool, ReceivedHeads) -> BoxFuture<'static, ()>;

/// A running application.
pub struct Application {
    /// The value of `target` in the configuration.
    pub target: String,
    pub received: ReceivedHeads,
    _directory: tempfile::TempDir,
}

impl Application {
    pub async fn start(kind: TargetKind, certificates: &Certificates) -> Self {
        Self::start_serving(kind, certificates, serve_answers).await
    }

    /// Starts an application that serves its connections in another way.
    pub async fn start_serving(
        kind: TargetKind,
        certificates: &Certificates,
        serve: Serve,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let received = ReceivedHeads::default();
        let target = match kind {
            TargetKind::Unix => {
                let path: PathBuf = directory.path().join("app.sock");
                let listener = UnixListener::bind(&path).unwrap();
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        tokio::spawn(serve(Box::new(stream), false, Arc::clone(&received)));
                    }
                });
                format!("unix:{}", path.display())
            }
            TargetKind::Http | TargetKind::H2c | TargetKind::Https => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let acceptor = (kind == TargetKind::Https).then(|| acceptor(certificates));
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (acceptor, received) = (acceptor.clone(), Arc::clone(&received));
                        tokio::spawn(async move {
                            let Some(acceptor) = acceptor else {
                                let is_http2 = kind == TargetKind::H2c;
                                return serve(Box::new(stream), is_http2, received).await;
                            };
                            let Ok(stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            serve(Box::new(stream), is_http2, received).await;
                        });
                    }
                });
                let scheme = match kind {
                    TargetKind::Https => "https",
                    TargetKind::H2c => "h2c",
                    _ => "http",
                };
                format!("{scheme}://{address}")
            }
        };
        Self {
            target,
            received,
            _directory: directory,
        }
    }

    /// Returns the last request that the application has received, with its body and its trailers.
    pub fn last_request(&self) -> (http::request::Parts, Bytes, Option<HeaderMap>) {
        self.received.lock().unwrap().last().unwrap().clone()
    }
}

/// Creates the TLS settings of the application.
fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let read = |name: &str| std::fs::read(Path::new(&certificates.path(name))).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("server.pem"))
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves a connection with the answers of this application.
pub fn serve_answers(
    stream: Box<dyn Connection>,
    is_http2: bool,
    received: ReceivedHeads,
) -> BoxFuture<'static, ()> {
    Box::pin(serve(stream, is_http2, received))
}

async fn serve(stream: Box<dyn Connection>, is_http2: bool, received: ReceivedHeads) {
    let service = service_fn(move |request| {
        let received = Arc::clone(&received);
        async move { Ok::<_, Infallible>(answer(request, &received).await) }
    });
    let stream = TokioIo::new(stream);
    if is_http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(stream, service).await;
    } else {
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
        let _ = connection.with_upgrades().await;
    }
}

async fn answer(mut request: Request<Incoming>, received: &ReceivedHeads) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let response = Response::builder();
    match &*path {
        path if path.starts_with("/ws") => {
            received.lock().unwrap().push((parts, Bytes::new(), None));
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
            let response = response
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                // The answer to the key that the tests use (RFC 6455, section 1.3).
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            return response.body(full("")).unwrap();
        }
        "/socket" => {
            let key = parts.headers["sec-websocket-key"].as_bytes();
            let accept = derive_accept_key(key);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                let (to, from) = socket.split();
                let messages =
                    from.try_filter(|it| std::future::ready(it.is_text() || it.is_binary()));
                let _ = messages.forward(to).await;
            });
            let response = response
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", accept);
            return response.body(full("")).unwrap();
        }
        "/early" => {
            received.lock().unwrap().push((parts, Bytes::new(), None));
            return response.status(413).body(full("too large")).unwrap();
        }
        "/events" => {
            let events = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok(Frame::data(Bytes::from("data: x\n\n"))), ()))
            });
            let response = response.header("content-type", "text/event-stream");
            return response
                .body(BodyExt::boxed(StreamBody::new(events)))
                .unwrap();
        }
        "/slow" => {
            let chunks = stream::unfold(0, async |sent: u64| {
                tokio::time::sleep(SLOW_INTERVAL).await;
                (sent < SLOW_CHUNKS)
                    .then(|| (Ok(Frame::data(Bytes::from(vec![b'x'; 1000]))), sent + 1))
            });
            let response = response.header("content-length", SLOW_CHUNKS * 1000);
            return response
                .body(BodyExt::boxed(StreamBody::new(chunks)))
                .unwrap();
        }
        "/endless" => {
            let chunks = stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 64 * 1024]))));
            return response
                .body(BodyExt::boxed(StreamBody::new(chunks)))
                .unwrap();
        }
        "/reset" => {
            let first = stream::once(async { Ok(Frame::data(Bytes::from("part"))) });
            let error = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("reset"))
            });
            let body = StreamBody::new(first.chain(error));
            return response.body(BodyExt::boxed(body)).unwrap();
        }
        _ => {}
    }
    let collected = body.collect().await;
    let Ok(collected) = collected else {
        return response.status(400).body(full("no body")).unwrap();
    };
    let trailers = collected.trailers().cloned();
    let bytes = collected.to_bytes();
    let length = bytes.len();
    let is_head = parts.method == http::Method::HEAD;
    let range = parts.headers.get("range").cloned();
    received.lock().unwrap().push((parts, bytes, trailers));
    match &*path {
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "42".parse().unwrap());
            let frames = [
                Ok(Frame::data(Bytes::from("body"))),
                Ok(Frame::trailers(trailers)),
            ];
            let body = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
            response.header("trailer", "x-checksum").body(body).unwrap()
        }
        "/range" => {
            assert_eq!(range.unwrap(), "bytes=1-2");
            let response = response.status(206).header("content-range", "bytes 1-2/5");
            response.body(full("bc")).unwrap()
        }
        "/not-modified" => response
            .status(304)
            .header("etag", "\"1\"")
            .body(full(""))
            .unwrap(),
        "/head" => response
            .header("content-length", "5")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            // Hyper does not remove the body of an answer to HEAD over HTTP/2.
            .body(full(if is_head { "" } else { "hello" }))
            .unwrap(),
        _ => response
            .body(full(&format!("received {length} bytes")))
            .unwrap(),
    }
}

fn full(text: &str) -> AnswerBody {
    let body = Full::new(Bytes::from(text.to_owned()));
    BodyExt::boxed(body.map_err(|never| match never {}))
}
