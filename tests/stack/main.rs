//! The stack of `docker-compose.yml` as processes of this machine, with the files that it mounts; and an upgrade of two
//! replicas while they are used.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod compose;
mod observability;
mod proxies;
mod rounds;
mod stack;
mod upgrade;
