//! The `curfew` program: parses the command line and runs it.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Measured to be faster than the system's: `docs/capacity.md` has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for the whole process, chosen here and nowhere else.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return fail("TLS was set up twice");
    }
    match curfew::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Tells what went wrong, a line each.
#[expect(clippy::disallowed_methods, reason = "each line is escaped")]
fn fail(error: &str) -> ExitCode {
    let mut err = std::io::stderr();
    for line in error.lines() {
        let _ = writeln!(err, "error: {}", curfew::escape::line(line));
    }
    ExitCode::FAILURE
}
