//! Credentials: how a client presents a credential, and how Curfew derives a session ID from the credential.
//!
//! Curfew never stores a credential. The store identifies a session by its [`SessionId`](crate::session::SessionId),
//! which Curfew derives from the credential with SHA-256. Therefore nobody can use a dump of the store to obtain a
//! valid cookie.

mod admin_token;
mod cookies;
pub mod delegated;
mod derived_id;
mod extract;
pub mod jwt;
mod key_ring;
mod token;

pub use admin_token::{NamedToken, Right};
pub use cookies::cookie_values;
pub use derived_id::reauthentication_subject;
pub use extract::{CredentialExtractor, JwtLocations, PresentedCredential};
pub use key_ring::{
    InvalidToken, KeyError, KeyRing, SEAL_OVERHEAD_BYTES, SealContext, SigningKey, UnsealError,
    random_bytes,
};
pub use token::{Token, operator_session_id};
