//! The HTTP client for requests to other services.

use std::time::Duration;

/// Creates a client that sends requests to the configured addresses only: no redirects, no proxy. A request fails after
/// `timeout`. Certificates are verified with `authorities` (PEM), or with those of the system if it is `None`.
///
/// # Errors
/// [`reqwest::Error`] if the authorities cannot be parsed.
pub fn http_client(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout, authorities)?.build()
}

/// Like [`http_client`], but returns the builder for further settings.
///
/// # Errors
/// As for [`http_client`].
pub fn builder(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    // The client needs the crypto provider that `main.rs` installs. Tests and benchmarks have another `main`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .timeout(timeout)
        // The target of a redirect is not a configured address.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("curfew/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    Ok(client)
}

/// Reads the body of a response; `None` if it has more than `most` bytes.
///
/// # Errors
/// [`reqwest::Error`] if the connection fails.
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
