//! After a revocation by somebody else, only a later authentication starts a session.
//!
//! The browser of a revoked session goes to its identity provider, which still knows the person, and would be back without a
//! question. So a revocation notes a cut-off for the person at the provider: no authentication from before it starts a session,
//! whatever the browser kept, and whichever source presents it. Sessions that live are not touched by it.

use super::Lifecycle;
use crate::actor::{Actor, ActorKind};
use crate::credential::reauthentication_subject;
use crate::session::{Session, Subject, Timestamp};
use crate::store::StoreError;

impl Lifecycle {
    /// Notes that the person of a session that `actor` has revoked must authenticate again. The person's own sign-out and a
    /// policy that makes room ask for nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not note it; repeating it is safe.
    pub(super) async fn require_new_sign_in(
        &self,
        revoked: &Session,
        before: Timestamp,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        if matches!(actor.kind, ActorKind::User | ActorKind::Policy) || revoked.is_operator() {
            return Ok(());
        }
        let forget = self.clock.now().minus(self.policies.longest());
        for name in persons(revoked) {
            let noted = self.not_before.set_not_before(&name, before, forget);
            self.count_unconfirmed(noted.await?);
        }
        Ok(())
    }

    /// Whether the authentication that a new session is of was before such a revocation. The store is asked, so it is in
    /// force on every replica at once.
    pub(super) async fn must_sign_in_again(&self, new: &Session) -> Result<bool, StoreError> {
        for name in persons(new) {
            let not_before = self.not_before.not_before(&name).await?;
            if not_before.is_some_and(|at| new.started < at) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What stands for the person of a session, at the provider and here, among the cut-offs.
fn persons(session: &Session) -> Vec<Subject> {
    let names = session.provider_names();
    let names = names.chain([session.subject.clone()]);
    names.map(|name| reauthentication_subject(&name)).collect()
}
