//! The version and build of this binary.

/// The version from `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of the source. This is the value of `CURFEW_REVISION` at build time. Without this variable, it is the
/// Git commit for a release build, and `unknown` for other builds.
pub const REVISION: &str = env!("CURFEW_REVISION");
/// The target triple of the build.
pub const TARGET: &str = env!("CURFEW_TARGET");
/// The compiler version.
pub const COMPILER: &str = env!("CURFEW_COMPILER");

/// All of these values, as `curfew --version` prints them after the program name.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision ",
    env!("CURFEW_REVISION"),
    "\nfor      ",
    env!("CURFEW_TARGET"),
    "\nby       ",
    env!("CURFEW_COMPILER"),
);
