//! Credentials: what a client presents, and how it becomes the name of a session.
//!
//! A credential is never stored. The store is keyed by a [`SessionId`](crate::session::SessionId)
//! that is derived from it by SHA-256, so a dump of the store gives nobody a usable cookie.

mod admin_token;
mod cookies;
pub mod delegated;
mod extract;
pub mod jwt;
mod key_ring;
mod name;
mod token;

pub use admin_token::{NamedToken, Right};
pub use cookies::cookie_values;
pub use extract::{CredentialExtractor, Extraction, JwtPlaces};
pub use key_ring::{
    InvalidToken, KeyError, KeyRing, SEAL_BYTES, SealedFor, SigningKey, Unsealable, random,
};
pub use name::reauthentication_name;
pub use token::{Token, operator_session};
