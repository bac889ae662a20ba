//! The core logic of Curfew: sessions, policies, credentials and identity.
//!
//! No code in this crate reads a clock or a file, or uses the network. Functions depend only on their arguments, and
//! types validate their values at construction. Other crates read the input, call these functions, and act on the
//! results.
//!
//! The modules form layers. Each layer uses only layers that come earlier in this list:
//!
//! 1. [`secret`], [`escape`], [`yaml`], [`live`]
//! 2. [`session`]
//! 3. [`credential`], [`policy`], [`identity`], [`actor`], [`events`], [`revocation`]

pub mod actor;
pub mod credential;
pub mod duration;
pub mod escape;
pub mod events;
pub mod identity;
pub mod live;
pub mod policy;
pub mod revocation;
pub mod secret;
pub mod session;
pub mod yaml;

#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "test support may panic")]
pub mod testing;
