//! Curfew makes sessions end on time at the edge.
pub mod clock;
pub mod config;
pub mod credential;
pub mod policy;
pub mod secret;
pub mod session;
pub mod store;
pub mod telemetry;
