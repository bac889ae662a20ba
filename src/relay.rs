//! Relays streams between a client and an application, and ends them with their session.
//!
//! A WebSocket is relayed byte by byte: the relay reads only the headers of the frames, to find the boundary between
//! two frames and to find the data of the client. When the stream is cut, the relay sends a Close frame to both sides
//! at a boundary. Bodies are relayed as they are, and their last frame depends on the kind of the stream.

mod body;
mod copy;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod messages;
mod upgrade;
mod upgraded;

pub use body::{relay_request, relay_response};
pub use upgrade::{
    Upgrade, UpgradeKind, checked_method, is_extended_connect, list_items, remove_extensions,
    requested_upgrade,
};
pub use upgraded::{relay_after_switch, wait_for_cut};
