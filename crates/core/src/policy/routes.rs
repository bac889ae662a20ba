//! The terms that the routes of a cluster add to those of the configuration. They only tighten.

mod checks;
mod index;
mod name;
mod passive_paths;
mod terms;

pub use checks::{CheckTimes, RouteChecks};
pub use index::{RouteEntry, RouteIndex, RouteScope};
pub use name::{RouteName, number};
pub use passive_paths::PassivePaths;
pub use terms::{RouteTerms, Sourced, lesser};

/// What Curfew knows about the routes of the cluster.
#[derive(Clone, Debug)]
pub enum Routes {
    /// Curfew must know the routes, and has not read them yet. Every check is denied with `source_unavailable`.
    Unknown,
    /// The routes. Without routes, the index is empty.
    Known(Box<RouteIndex>),
}

impl Default for Routes {
    fn default() -> Self {
        Self::Known(Box::default())
    }
}

#[cfg(test)]
mod tests;
