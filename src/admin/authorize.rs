use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Admin;
use super::caller::Caller;
use super::error::ApiError;
use crate::actor::Actor;
use crate::credential::NamedToken;
use crate::current::Current;
use crate::secret::Secret;
use crate::telemetry::audit::{self, AdminInterface};

/// The accepted admin tokens, each as its SHA-256 hash.
///
/// A token has 256 random bits, so nobody who reads the hash in the configuration can guess the token.
#[derive(Clone, Debug)]
pub struct AdminTokens(Vec<Arc<NamedToken>>);

/// A new admin token, with its hash.
#[derive(Clone, Debug)]
pub struct AdminToken {
    /// The token for the client.
    pub token: Secret<String>,
    /// The SHA-256 hash for the configuration.
    pub hash: [u8; 32],
}

impl AdminToken {
    /// Generates a token with random numbers of the operating system.
    ///
    /// # Errors
    /// [`getrandom::Error`] if the operating system has no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let token = format!("cfwadmin_{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = hash(token.as_bytes());
        Ok(Self {
            token: Secret::new(token),
            hash,
        })
    }

    /// Returns the hash in hexadecimal, the format of `admin.token_hashes`.
    #[must_use]
    pub fn hash_text(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl AdminTokens {
    /// Creates the set of accepted tokens.
    #[must_use]
    pub fn new(tokens: Vec<NamedToken>) -> Self {
        Self(tokens.into_iter().map(Arc::new).collect())
    }

    /// Returns the configured token whose hash equals the hash of the presented token. Compares all hashes, each in
    /// constant time, so that the duration reveals nothing about them.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<Arc<NamedToken>> {
        let presented_hash = hash(token);
        let mut found = None;
        for known in &self.0 {
            if known.hash.ct_eq(&presented_hash).into() {
                found = Some(Arc::clone(known));
            }
        }
        found
    }

    /// Returns the configured token with this fingerprint. An operator's session record contains the fingerprint.
    #[must_use]
    pub(super) fn find_by_fingerprint(&self, fingerprint: &str) -> Option<Arc<NamedToken>> {
        self.0
            .iter()
            .find(|known| known.fingerprint() == fingerprint)
            .cloned()
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Middleware: requires an admin token or the token of a Kubernetes user, and adds the [`Caller`] to the request. An
/// admin token must also have the right for the route.
pub(super) async fn require_caller(
    Current(admin): Current<Admin>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut header_values = request.headers().get_all(AUTHORIZATION).into_iter();
    let token = header_values.next().and_then(|line| {
        let (scheme, token) = line.as_bytes().split_first_chunk::<7>()?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| token.trim_ascii())
    });
    let token = token.filter(|token| !token.is_empty() && header_values.next().is_none());
    let token = token.ok_or(ApiError::Unauthorized)?;
    let address = admin.client_address(request.headers(), request.extensions());
    let caller = match admin.tokens.find(token) {
        Some(token) => Caller::token(token, address),
        None => {
            let (method, path) = (request.method(), request.uri().path());
            find_kubernetes_caller(&admin, method, path, token, address).await?
        }
    };
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    caller.require_right(request.method(), route)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Finds the Kubernetes user of a token. If the address has sent too many wrong credentials, Curfew does not ask
/// Kubernetes, and accepts only a user in the cache.
async fn find_kubernetes_caller(
    admin: &Admin,
    method: &Method,
    path: &str,
    token: &[u8],
    address: Option<IpAddr>,
) -> Result<Caller, ApiError> {
    let kubernetes = admin.kubernetes.as_ref().zip(as_json_web_token(token));
    let new_caller =
        |kubernetes, user| Ok(Caller::kubernetes(Arc::clone(kubernetes), user, address));
    if let Some((kubernetes, token)) = kubernetes
        && let Some(user) = kubernetes.cached_user(token)
    {
        return new_caller(kubernetes, user);
    }
    if let Some(wait) = admin.retry_delay(AdminInterface::Api, address) {
        return Err(ApiError::TooManyAttempts(wait));
    }
    if let Some((kubernetes, token)) = kubernetes
        && let Some(user) = kubernetes.review_token(token).await?
    {
        return new_caller(kubernetes, user);
    }
    let actor = Actor::anonymous(address);
    admin.count_wrong_credential(AdminInterface::Api, address, |reason| {
        audit::access_refused(reason, method.as_str(), path, &actor);
    });
    Err(ApiError::Unauthorized)
}

/// Returns the token if it has the form of a JSON Web Token. Curfew does not send other tokens to Kubernetes.
fn as_json_web_token(token: &[u8]) -> Option<&str> {
    const MAX_TOKEN_BYTES: usize = 16 * 1024;
    let token = std::str::from_utf8(token).ok()?;
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let has_jwt_form = token.len() <= MAX_TOKEN_BYTES && token.matches('.').count() == 2;
    (has_jwt_form && token.bytes().all(is_token_byte)).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_tokens_are_accepted() {
        let (one, two) = (
            AdminToken::generate().unwrap(),
            AdminToken::generate().unwrap(),
        );
        let tokens = [one.hash, two.hash].map(NamedToken::unnamed);
        let tokens = AdminTokens::new(tokens.to_vec());
        for token in [&one, &two] {
            let found = tokens.find(token.token.expose().as_bytes()).unwrap();
            assert_eq!(found.hash, token.hash);
            assert_eq!(
                tokens.find_by_fingerprint(&found.fingerprint()).unwrap(),
                found
            );
            assert!(
                tokens.find(token.hash_text().as_bytes()).is_none(),
                "a hash should not be accepted as a token"
            );
            assert!(tokens.find_by_fingerprint(&token.hash_text()).is_none());
        }
        assert!(tokens.find(b"").is_none());
        assert!(AdminTokens::new(vec![]).find(b"").is_none());
        assert!(!format!("{one:?}").contains(one.token.expose()));
    }
}
