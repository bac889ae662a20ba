//! The build information of `curfew --version`: the source revision, the target and the compiler.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CURFEW_REVISION");
    let configured_revision = env::var("CURFEW_REVISION").ok();
    let revision = configured_revision
        .filter(|revision| !revision.is_empty())
        .or_else(git_commit);
    set_env("CURFEW_REVISION", revision);
    set_env("CURFEW_TARGET", env::var("TARGET").ok());
    let compiler = env::var("RUSTC").ok();
    set_env(
        "CURFEW_COMPILER",
        compiler.and_then(|rustc| first_output_line(&rustc, &["--version"])),
    );
}

/// Returns the commit for a release build. Returns `None` for other builds, because Cargo would otherwise build the
/// crate again after each commit.
fn git_commit() -> Option<String> {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // This file changes with every commit and every checkout, so Cargo runs the build script again after each of them.
    let head = first_output_line("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={head}");
    first_output_line("git", &["rev-parse", "--short=12", "HEAD"])
}

fn set_env(name: &str, value: Option<String>) {
    let value = value.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env={name}={value}");
}

/// Runs a program, and returns the first line of its output.
fn first_output_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
