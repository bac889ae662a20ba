//! Curfew makes sessions end on time at the edge.
pub mod admin;
pub mod check;
pub mod clock;
pub mod config;
pub mod contract;
pub mod credential;
pub mod lifecycle;
pub mod ops;
pub mod policy;
pub mod secret;
pub mod session;
pub mod store;
pub mod telemetry;
