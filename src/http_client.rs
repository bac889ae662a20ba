//! The client for what other services are asked over HTTP.

use std::time::Duration;

/// A client that asks whom it is told to ask, and nobody else: it follows no redirect and uses no
/// proxy. It gives up after `timeout`, and trusts `authorities` (PEM) where there are any instead of
/// the system's.
///
/// # Errors
/// [`reqwest::Error`] when the authorities can't be read.
pub fn http_client(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout, authorities)?.build()
}

/// The same, for more to be said of it.
///
/// # Errors
/// As for [`http_client`].
pub fn builder(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    // The client looks for the provider that `main.rs` chooses; there may be another `main`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .timeout(timeout)
        // An address that sends us elsewhere is none that was configured.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("curfew/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    Ok(client)
}

/// The body of an answer, unless it has more than `most` bytes.
///
/// # Errors
/// [`reqwest::Error`] when it breaks off.
pub async fn read_body(
    answer: &mut reqwest::Response,
    most: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}
