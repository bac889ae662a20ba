//! What `curfew --version` says of the build: from which revision of the source, for which machine, by which
//! compiler.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CURFEW_REVISION");
    let given = env::var("CURFEW_REVISION").ok();
    let revision = given
        .filter(|revision| !revision.is_empty())
        .or_else(from_git);
    set("CURFEW_REVISION", revision);
    set("CURFEW_TARGET", env::var("TARGET").ok());
    let compiler = env::var("RUSTC").ok();
    set(
        "CURFEW_COMPILER",
        compiler.and_then(|rustc| said(&rustc, &["--version"])),
    );
}

/// The commit; for releases only, so that nothing is built again after every commit.
fn from_git() -> Option<String> {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // What changes with every commit and every checkout.
    let head = said("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={head}");
    said("git", &["rev-parse", "--short=12", "HEAD"])
}

fn set(name: &str, value: Option<String>) {
    let value = value.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env={name}={value}");
}

/// What a program says in one line.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
