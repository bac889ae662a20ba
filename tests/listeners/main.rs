//! The listeners that do not speak plain HTTP, as their peers use and misuse them.

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
