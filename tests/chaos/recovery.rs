//! How long a replica needs to serve again after a fault.
//!
//! A replica has recovered when it has served each of the steady sessions again: in a cluster, some of them are on
//! servers without a fault. A session that the replica serves at the first attempt was never out of service there.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;

#[derive(Default)]
pub struct Recovery {
    since: Option<Instant>,
    /// Whether a replica serves a session again.
    served: HashMap<(usize, String), bool>,
    longest: Duration,
}

impl Recovery {
    /// Starts the measurement.
    pub fn start(&mut self) {
        self.close();
        self.since = Some(Instant::now());
    }

    /// Ends the measurement. A session that is still out of service counts until now.
    pub fn close(&mut self) {
        if let Some(since) = self.since.take()
            && self.is_awaited()
        {
            self.longest = self.longest.max(since.elapsed());
        }
        self.served.clear();
    }

    /// Whether a session is out of service.
    pub fn is_awaited(&self) -> bool {
        self.served.values().any(|served| !served)
    }

    /// Takes the answer, or the missing answer, to a check of a steady session.
    pub fn judge_check(&mut self, session: &str, check: &Exchange) {
        let Some(since) = self.since.filter(|since| check.sent >= *since) else {
            return;
        };
        let allowed = check.status == Some(200);
        let place = (check.replica, session.to_owned());
        let before = self.served.get(&place).copied();
        if before == Some(false) && allowed {
            self.longest = self.longest.max(check.arrived - since);
        }
        self.served.insert(place, before == Some(true) || allowed);
    }

    pub const fn longest(&self) -> Duration {
        self.longest
    }
}
