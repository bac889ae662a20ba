//! What the pages of well-known applications ask for by themselves while nobody touches them.

/// An application whose pages ask for something in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poller {
    /// The name in the configuration.
    pub name: &'static str,
    /// What is asked for: methods, and globs of paths below the application's root.
    pub requests: &'static [(&'static str, &'static str)],
}

/// All that are known.
pub const ALL: [Poller; 1] = [Poller {
    name: "grafana",
    requests: &[("GET", "/api/live/ws")],
}];

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Poller> {
    ALL.iter().find(|poller| poller.name == name)
}
