use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::connector::{Connector, Place};
use super::health::Health;
use super::settings::{Target, UpstreamSettings};

/// The maximum number of idle connections in one pool.
const MAX_IDLE_CONNECTIONS: usize = 64;
/// The largest window of an HTTP/2 connection (RFC 9113, section 6.9.1).
const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// The window of an HTTP/2 stream: the most bytes of one answer that wait for a slow client.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The interval of pings on an HTTP/2 connection to an application.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The time after which a ping without an answer ends the connection.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// An application, with its connection pools.
pub(super) struct Upstream {
    pub(super) settings: UpstreamSettings,
    pub(super) health: Health,
    client: Client<Connector, Body>,
    /// The client for upgrades, which need HTTP/1.1; `None` if the application speaks only HTTP/2.
    upgrade_client: Option<Client<Connector, Body>>,
}

/// Why the TLS settings of an upstream are invalid.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The certificate authorities are not valid PEM certificates.
    #[error("the certificate authorities are not valid: {0}")]
    Authorities(String),
    /// There is no certificate authority.
    #[error("there is no certificate authority")]
    NoAuthority,
    /// The server name is not a DNS name or an address.
    #[error("not a DNS name or an address: {0}")]
    ServerName(#[from] InvalidDnsNameError),
    /// The TLS library does not accept the settings.
    #[error("{0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("target", &self.settings.target.to_string())
            .finish_non_exhaustive()
    }
}

impl Upstream {
    pub(super) fn new(settings: UpstreamSettings) -> Result<Self, UpstreamError> {
        let connector = |place| Connector {
            place,
            timeout: settings.connect_timeout,
        };
        let (client, upgrade_client) = match &settings.target {
            Target::Http(authority) => {
                let client = build_client(connector(Place::Tcp(authority.clone())), false);
                (client.clone(), Some(client))
            }
            Target::Unix(path) => {
                let client = build_client(connector(Place::Unix(path.clone())), false);
                (client.clone(), Some(client))
            }
            Target::H2c(authority) => {
                let place = Place::Tcp(authority.clone());
                (build_client(connector(place), true), None)
            }
            Target::Https(authority) => {
                let name = settings.server_name.as_deref();
                let name = name
                    .unwrap_or_else(|| authority.host())
                    .trim_matches(['[', ']']);
                let server_name = ServerName::try_from(name.to_owned())?;
                let authorities = settings.authorities.as_deref();
                let place = |protocols: &[&[u8]]| -> Result<Place, UpstreamError> {
                    let mut config = tls_config(authorities)?;
                    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
                    Ok(Place::Tls {
                        authority: authority.clone(),
                        server_name: server_name.clone(),
                        config: Arc::new(config),
                    })
                };
                let client = build_client(connector(place(&[b"h2", b"http/1.1"])?), false);
                let upgrade_client = build_client(connector(place(&[b"http/1.1"])?), false);
                (client, Some(upgrade_client))
            }
        };
        Ok(Self {
            settings,
            health: Health::default(),
            client,
            upgrade_client,
        })
    }

    /// Returns the URI of a request to the application. HTTP/2 sends the authority of the URI to the application, so the
    /// URI contains the host that the application must see.
    pub(super) fn uri(&self, host: &str, uri: &Uri) -> Result<Uri, http::Error> {
        let target = &self.settings.target;
        let uri = target.clone().uri(uri)?;
        if matches!(target, Target::Http(_) | Target::Unix(_)) {
            return Ok(uri);
        }
        let mut parts = uri.into_parts();
        parts.authority = Some(host.parse()?);
        Ok(Uri::from_parts(parts)?)
    }

    /// Sends a request, and returns the head of the answer. A request is sent again only if the application closed an
    /// idle connection before it read the request.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        self.client.request(request).await
    }

    /// Sends a request that asks for an upgrade; `None` if the application speaks only HTTP/2.
    pub(super) async fn send_upgrade(
        &self,
        request: Request<Body>,
    ) -> Option<Result<Response<Incoming>, legacy::Error>> {
        Some(self.upgrade_client.as_ref()?.request(request).await)
    }
}

fn build_client(connector: Connector, is_http2: bool) -> Client<Connector, Body> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .http2_only(is_http2)
        // One client that does not read must not use up the window of the connection, which all clients share.
        .http2_initial_connection_window_size(MAX_WINDOW_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        // Find a connection whose other end has disappeared.
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        // The caller sets the header, so that the application gets the host that the client wrote.
        .set_host(false)
        .build(connector)
}

/// Creates the TLS settings with these authorities, or with those of the system.
fn tls_config(authorities: Option<&[u8]>) -> Result<ClientConfig, UpstreamError> {
    let invalid = |error: &dyn fmt::Display| UpstreamError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| invalid(&error))?;
                roots.add(certificate).map_err(|error| invalid(&error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(UpstreamError::NoAuthority);
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config?.with_root_certificates(roots).with_no_client_auth())
}
