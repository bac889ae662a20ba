//! Which Curfew this is.

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of the source: what `CURFEW_REVISION` said when it was built, or git's commit for a release
/// build; `unknown` otherwise.
pub const REVISION: &str = env!("CURFEW_REVISION");
/// The machine it was built for.
pub const TARGET: &str = env!("CURFEW_TARGET");
/// The compiler it was built by.
pub const COMPILER: &str = env!("CURFEW_COMPILER");

/// All of it, as `curfew --version` says it after the name.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision ",
    env!("CURFEW_REVISION"),
    "\nfor      ",
    env!("CURFEW_TARGET"),
    "\nby       ",
    env!("CURFEW_COMPILER"),
);
