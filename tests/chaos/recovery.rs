//! Measures how long a replica needs to recover after a fault.
//!
//! A replica has recovered when it has allowed each of the steady sessions again. But in a cluster, some sessions
//! are on servers without a fault. If the replica allows a session at the first attempt, the session was never out
//! of service. So it does not count for the recovery time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;

#[derive(Default)]
pub struct Recovery {
    since: Option<Instant>,
    /// Whether a replica serves a session again, for each replica and session.
    served: HashMap<(usize, String), bool>,
    longest: Duration,
}

impl Recovery {
    pub fn start(&mut self) {
        self.close();
        self.since = Some(Instant::now());
    }

    /// Ends the measurement. For a session that is still out of service, the recovery time lasts until now.
    pub fn close(&mut self) {
        if let Some(since) = self.since.take()
            && self.is_pending()
        {
            self.longest = self.longest.max(since.elapsed());
        }
        self.served.clear();
    }

    /// Returns whether a session is still out of service.
    pub fn is_pending(&self) -> bool {
        self.served.values().any(|served| !served)
    }

    /// Records the result of a check of a steady session.
    pub fn record_check(&mut self, session: &str, check: &Exchange) {
        let Some(since) = self.since.filter(|since| check.sent >= *since) else {
            return;
        };
        let allowed = check.status == Some(200);
        let key = (check.replica, session.to_owned());
        let before = self.served.get(&key).copied();
        if before == Some(false) && allowed {
            self.longest = self.longest.max(check.arrived - since);
        }
        self.served.insert(key, before == Some(true) || allowed);
    }

    pub const fn longest(&self) -> Duration {
        self.longest
    }
}
