//! JSON Web Tokens of identity providers, as credentials.
//!
//! The implementation follows RFC 8725. The configuration sets the allowed algorithms of an issuer (3.1). The
//! verifier uses only the issuer's own keys (3.8), and ignores keys in a token's header (3.10). The configuration can
//! require a token type (3.11). The verifier validates the audience, the issuer and the subject (3.8, 3.9).

mod claims;
mod crypto;
mod error;
mod id_token;
mod keys;
mod notice;
mod refresh;
mod user_info;
mod verify;

pub use claims::unverified_issuer;
pub(super) use claims::{SignInClaims, find_claim, unverified_claims};
pub use crypto::install as install_crypto;
pub use error::InvalidJwt;
pub use id_token::{ProviderSignIn, VerifiedIdToken};
pub use keys::{KeySet, KeySetError};
pub use notice::{InvalidNotice, LogoutTarget, Notice};
pub use refresh::RefreshResult;
pub use verify::{ClaimNames, Issuer, LogoutScope, VerifiedJwt, looks_like_a_jwt};
