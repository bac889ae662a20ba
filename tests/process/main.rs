//! Tests of the process: its output, how it starts and stops, and the data that survives a restart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod clocks;
mod commands;
mod configuration_commands;
mod console;
mod continuity;
mod data_loss;
mod escaping;
mod events;
mod fail_over;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod operation;
mod probe;
mod readme;
mod recording;
mod reload;
mod revocation;
mod sessions;
mod supervision;
mod traces;
mod upgrade;

use std::process::Output;
use std::time::Duration;

use curfew::clock::Stopwatch;
use curfew::session::Timestamp;
use serde_json::{Value, json};
use support::curfew::{Setup, client, press_ctrl_c};
use support::eventually;
use support::redis::RedisServer;

fn to_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run_command(setup: &Setup, arguments: &[&str]) -> Output {
    setup.command(arguments).output().unwrap()
}

const ALLOWED: (u16, String) = (200, String::new());

fn denied(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}
