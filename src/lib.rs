//! Curfew makes sessions end on time at the edge.
pub mod clock;
pub mod credential;
pub mod secret;
pub mod session;
