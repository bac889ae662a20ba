use std::sync::Arc;

use crate::{CutOffStore, DeadlineQueue, HistoryStore, RouteCheckStore, SessionStore, SessionWalk};

/// One store, with a field for each of its traits.
#[derive(Clone)]
pub struct Stores {
    /// Session records.
    pub sessions: Arc<dyn SessionStore>,
    /// The deadline queue.
    pub deadlines: Arc<dyn DeadlineQueue>,
    /// The cut-offs of subjects, and the emergency revocations.
    pub cut_offs: Arc<dyn CutOffStore>,
    /// Access to all sessions, for emergency revocations.
    pub walk: Arc<dyn SessionWalk>,
    /// The last loss of data, and the absolute limits over time.
    pub history: Arc<dyn HistoryStore>,
    /// The times of checks for the routes of a cluster.
    pub route_checks: Arc<dyn RouteCheckStore>,
}

impl<S> From<Arc<S>> for Stores
where
    S: SessionStore + DeadlineQueue + CutOffStore + SessionWalk + HistoryStore + RouteCheckStore,
{
    fn from(store: Arc<S>) -> Self {
        Self {
            deadlines: Arc::clone(&store) as _,
            cut_offs: Arc::clone(&store) as _,
            walk: Arc::clone(&store) as _,
            history: Arc::clone(&store) as _,
            route_checks: Arc::clone(&store) as _,
            sessions: store,
        }
    }
}
