//! Session ends that an identity provider requests.

use super::subject::Pages;
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::credential::jwt::LogoutTarget;
use crate::session::{Session, State, Timestamp};
use crate::store::{EndOutcome, EndRequest, StoreError};

impl Lifecycle {
    /// Whether an unauthenticated request may add a cut-off (a time before which all sessions of a subject have ended).
    /// Half of the cut-offs are reserved for administrators and identity providers.
    #[must_use]
    pub fn accepts_unauthenticated_cut_off(&self) -> bool {
        self.parts.stores.cut_offs.usage().accepts_unauthenticated()
    }

    /// Ends the sessions that a provider has ended and that started before the time `before`. Returns the number of
    /// live sessions that the call found and ended.
    ///
    /// The call cannot find a session that has not started in Curfew yet, or a session whose subject has another name
    /// in Curfew. Therefore the call also sets a cut-off, so that checks deny these sessions, too.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed before all these sessions were ended. Some of them may have ended.
    /// Repeating the call is safe.
    pub async fn end_provider_sessions(
        &self,
        target: &LogoutTarget,
        before: Timestamp,
        actor: &Actor,
    ) -> Result<usize, StoreError> {
        let (this, target, actor) = (self.clone(), target.clone(), actor.clone());
        run_detached(async move {
            let now = this.parts.clock.now();
            // A cut-off in the future would also end sessions that start until that time.
            let before = before.min(now);
            let forget_before = now.minus(this.parts.policies.longest_absolute_limit());
            let replication =
                this.parts
                    .stores
                    .cut_offs
                    .set_cut_off(&target.name, before, forget_before);
            this.count_unconfirmed(replication.await?);
            let Some(subject) = &target.subject else {
                return Ok(0);
            };
            let is_affected = |session: &Session| {
                session.state == State::Live
                    && session.started < before
                    && session.provider_names().any(|name| name == target.name)
            };
            let mut revoked = 0;
            let mut pages = Pages::of(subject);
            while let Some(page) = pages.next(&*this.parts.stores.sessions).await? {
                for (id, session) in page {
                    if is_affected(&session) {
                        let outcome = this.end(id, EndRequest::revoked(now), &actor).await?;
                        revoked += usize::from(matches!(outcome, EndOutcome::Ended(_)));
                    }
                }
            }
            Ok(revoked)
        })
        .await
    }
}
