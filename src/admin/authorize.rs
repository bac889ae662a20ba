use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Admin;
use super::caller::Caller;
use super::error::ApiError;
use crate::secret::Secret;

/// The hashes of the tokens that open the admin API.
///
/// A token is 256 random bits, so a plain SHA-256 is enough to keep it from whoever reads the
/// configuration.
#[derive(Clone, Debug)]
pub struct AdminTokens(Vec<[u8; 32]>);

/// A new admin token.
#[derive(Clone, Debug)]
pub struct AdminToken {
    /// The token, for the client.
    pub token: Secret<String>,
    /// Its hash, for the configuration.
    pub hash: [u8; 32],
}

impl AdminToken {
    /// A new token from the operating system's random numbers.
    ///
    /// # Errors
    /// [`getrandom::Error`] when it gives none.
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

    /// The hash in hexadecimal, as `admin.token_hashes` takes it.
    #[must_use]
    pub fn hash_text(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl AdminTokens {
    /// Tokens with these hashes.
    #[must_use]
    pub const fn new(hashes: Vec<[u8; 32]>) -> Self {
        Self(hashes)
    }

    /// Whether the token opens the API.
    fn admit(&self, token: &[u8]) -> bool {
        self.find(token).is_some()
    }

    /// The hash of a token that opens the API.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<[u8; 32]> {
        Some(hash(token)).filter(|hash| self.knows(hash))
    }

    /// Whether a token of this hash opens the API. All hashes are compared, each in constant time.
    #[must_use]
    pub fn knows(&self, presented: &[u8; 32]) -> bool {
        self.0
            .iter()
            .fold(Choice::from(0), |found, known| {
                found | known.ct_eq(presented)
            })
            .into()
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Lets a request pass that carries a known token, and says whose it is: an admin's, who may do everything, or that of
/// somebody whom Kubernetes knows.
pub(super) async fn find_caller(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut lines = request.headers().get_all(AUTHORIZATION).into_iter();
    let token = lines.next().and_then(|line| {
        let (scheme, token) = line.as_bytes().split_first_chunk::<7>()?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| token.trim_ascii())
    });
    let token = token.filter(|_| lines.next().is_none());
    let token = token.ok_or(ApiError::Unauthorized)?;
    let caller = match &admin.kubernetes {
        _ if admin.tokens.admit(token) => Caller::Token,
        Some(kubernetes) => {
            let token = json_web_token(token).ok_or(ApiError::Unauthorized)?;
            let user = kubernetes.who(token).await?.ok_or(ApiError::Unauthorized)?;
            Caller::Kubernetes(Arc::clone(kubernetes), user)
        }
        None => return Err(ApiError::Unauthorized),
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// What looks like a token of Kubernetes; it is not asked about anything else.
fn json_web_token(token: &[u8]) -> Option<&str> {
    const LONGEST: usize = 16 * 1024;
    let token = std::str::from_utf8(token).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let jwt = token.len() <= LONGEST && token.matches('.').count() == 2;
    (jwt && token.bytes().all(plain)).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_tokens_open() {
        let (one, two) = (
            AdminToken::generate().unwrap(),
            AdminToken::generate().unwrap(),
        );
        let tokens = AdminTokens::new(vec![one.hash, two.hash]);
        for token in [&one, &two] {
            assert!(tokens.admit(token.token.expose().as_bytes()));
            assert!(
                !tokens.admit(token.hash_text().as_bytes()),
                "the hash is no token"
            );
        }
        assert!(!tokens.admit(b""));
        assert!(!AdminTokens::new(vec![]).admit(b""));
        assert!(!format!("{one:?}").contains(one.token.expose()));
    }
}
