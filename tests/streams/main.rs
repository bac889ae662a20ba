//! Tests the proxy listener and the end of streams, with real connections and a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod application;
mod cells;
mod cuts;
mod envoy;
mod forwarding;
mod fronts;
mod h2spec;
mod health;
mod heartbeats;
mod interim;
mod routing;
mod smuggling;
mod transfers;
mod websocket;
