//! The limit on concurrent sessions: that of the policy, bounded by the ceilings of the cluster.

use std::sync::Arc;

use super::{Lifecycle, StartError};
use crate::policy::{MaxSessions, OnSessionLimit, Policy, Routes};

impl Lifecycle {
    /// Returns the limit on the sessions of a subject who signs in under a policy, with a credential for these hosts. `None`
    /// stands for all hosts. Without a limit of the policy, a sign-in above a ceiling ends the oldest session.
    ///
    /// # Errors
    /// [`StartError::UnknownRoutes`] if the ceilings are not known yet.
    pub(super) fn session_limit(
        &self,
        policy: Option<&Policy>,
        hosts: Option<&[Arc<str>]>,
    ) -> Result<Option<MaxSessions>, StartError> {
        let limit = policy.and_then(|policy| policy.max_sessions);
        let ceiling = match &*self.parts.routes.current() {
            Routes::Known(routes) => match hosts {
                None => routes.max_sessions(None),
                Some(hosts) => {
                    let ceilings = hosts
                        .iter()
                        .filter_map(|host| routes.max_sessions(Some(host)));
                    ceilings.min()
                }
            },
            Routes::Unknown => return Err(StartError::UnknownRoutes),
        };
        let Some(ceiling) = ceiling else {
            return Ok(limit);
        };
        let on_limit = limit.map_or(OnSessionLimit::EndOldest, |limit| limit.on_limit);
        let count = limit.map_or(ceiling.value, |limit| limit.count.min(ceiling.value));
        Ok(Some(MaxSessions { count, on_limit }))
    }
}

#[cfg(test)]
mod tests;
