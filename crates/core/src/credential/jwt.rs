//! JSON Web Tokens that an identity provider has signed, as credentials.
//!
//! RFC 8725 is followed: which algorithms an issuer may use is configured (3.1), its own keys alone
//! are tried (3.8), what a header says of keys is ignored (3.10), the kind of token can be
//! pinned (3.11), and audience, issuer and subject are looked at (3.8, 3.9).

mod claims;
mod crypto;
mod id_token;
mod invalid;
mod keys;
mod notice;
mod refreshed;
mod verify;

pub use claims::unverified_issuer;
pub(super) use claims::{Said, find, unverified_claims};
pub use crypto::install as install_crypto;
pub use id_token::SignedIn;
pub use invalid::InvalidJwt;
pub use keys::{KeySet, KeySetError};
pub use notice::{InvalidNotice, Notice, Whom};
pub use refreshed::Refreshed;
pub use verify::{Claims, Issuer, VerifiedJwt, looks_like_a_jwt};
