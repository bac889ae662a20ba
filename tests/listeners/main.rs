//! Tests the listeners with real proxies, and with raw, faulty and hostile clients.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod abuse;
mod bodies;
mod envoy;
mod grpc;
mod haproxy;
mod http;
mod kube_api;
mod limits;
mod spoe;
mod spop;
mod tls;
