//! JSON Web Tokens of identity providers, as credentials.
//!
//! The implementation follows RFC 8725. The allowed algorithms of an issuer are configured (3.1). Only the issuer's
//! own keys are tried (3.8), and keys in a token's header are ignored (3.10). The token type can be pinned (3.11).
//! Audience, issuer and subject are validated (3.8, 3.9).

mod claims;
mod crypto;
mod id_token;
mod invalid;
mod keys;
mod notice;
mod refreshed;
mod user_info;
mod verify;

pub use claims::unverified_issuer;
pub(super) use claims::{SignInClaims, find, unverified_claims};
pub use crypto::install as install_crypto;
pub use id_token::{SignedIn, VerifiedIdToken};
pub use invalid::InvalidJwt;
pub use keys::{KeySet, KeySetError};
pub use notice::{InvalidNotice, LogoutTarget, Notice};
pub use refreshed::Refreshed;
pub use verify::{Claims, Issuer, VerifiedJwt, looks_like_a_jwt};
