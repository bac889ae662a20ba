//! The HTTP client for requests to other services.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Creates a client that follows no redirects and uses no proxy, so it sends requests only to configured addresses. A
/// request fails after `timeout`. Certificates are verified with `authorities` (PEM), or with the authorities of the
/// system if `authorities` is `None`.
///
/// # Errors
/// [`reqwest::Error`] if the authorities cannot be parsed.
pub fn http_client(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::Client, reqwest::Error> {
    client_builder(timeout, authorities)?.build()
}

/// Like [`http_client`], but returns the builder for further settings.
///
/// # Errors
/// The same as for [`http_client`].
pub fn client_builder(
    timeout: Duration,
    authorities: Option<&[u8]>,
) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    // The client needs a default crypto provider. `main.rs` installs it, but tests and benchmarks do not run
    // `main.rs`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .timeout(timeout)
        // Follow no redirect, because its target is not a configured address.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("curfew/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    Ok(client)
}

/// Lets the client present the certificate in a PEM file, which also contains its key.
///
/// # Errors
/// The file cannot be read, or has no certificate or no key.
pub fn with_identity(
    client: reqwest::ClientBuilder,
    path: &Path,
) -> Result<reqwest::ClientBuilder, IdentityError> {
    let pem = std::fs::read(path).map_err(|error| IdentityError::Read {
        path: path.to_owned(),
        error,
    })?;
    let identity = reqwest::Identity::from_pem(&pem);
    let identity = identity.map_err(|error| IdentityError::Invalid {
        path: path.to_owned(),
        error,
    })?;
    Ok(client.identity(identity))
}

/// Why a client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The file has no certificate or no key.
    #[error("{}: must contain a PEM certificate and its private key: {error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        error: reqwest::Error,
    },
}

/// Reads the body of a response. Returns `None` if it has more than `max_bytes` bytes.
///
/// # Errors
/// [`reqwest::Error`] if the connection fails.
pub async fn read_body(
    response: &mut reqwest::Response,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}
