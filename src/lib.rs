//! Curfew makes sessions end on time at the edge.
pub mod session;
