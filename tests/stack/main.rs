//! Runs the stack of `docker-compose.yml` as processes on this machine, with the files that it mounts. Also tests an
//! upgrade of two replicas under load.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod compose;
mod observability;
mod proxies;
mod stack;
mod upgrade;
mod user_journey;
