//! Black-box tests of the proxy files that Authelia and oauth2-proxy document, with and without the changes for
//! Curfew. The proxies and Curfew are real. The backend records every request.
//!
//! `docs/coming-from-authelia.md` and `docs/coming-from-oauth2-proxy.md` describe the same behaviour for operators.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod changed;
mod harness;
mod identity;
mod ingress;
mod pages;
mod proxies;
mod snippet;
mod unchanged;
