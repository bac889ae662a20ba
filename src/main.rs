//! The `curfew` program: parses the command line and runs the command.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: curfew_allocator::MiMalloc = curfew_allocator::MiMalloc;

fn main() -> ExitCode {
    // Install the crypto provider of TLS for the whole process.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return fail("could not install the TLS provider: another one is installed");
    }
    match curfew::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Prints the error, with a prefix on each line.
#[expect(clippy::disallowed_methods, reason = "each line is escaped")]
fn fail(error: &str) -> ExitCode {
    let mut err = std::io::stderr();
    for line in error.lines() {
        let _ = writeln!(err, "error: {}", curfew::escape::line(line));
    }
    ExitCode::FAILURE
}
