//! After a revocation, only a later authentication starts a session, unless the person or a policy caused it.
//!
//! The browser of a revoked session goes to its identity provider. The provider still has its own session, and would
//! sign the person in without a question. So a revocation sets a cut-off for the person at the provider. An earlier
//! authentication then starts no session, whatever the browser kept and whichever source presents it. Live sessions
//! are not affected.

use super::Lifecycle;
use crate::actor::{Actor, ActorKind};
use crate::credential::reauthentication_subject;
use crate::session::{Session, Subject, Timestamp};
use crate::store::StoreError;

impl Lifecycle {
    /// Requires a new authentication from the person whose session `actor` has revoked. A sign-out by the person, or
    /// a policy that evicts a session, requires none.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    pub(super) async fn require_new_authentication(
        &self,
        revoked: &Session,
        before: Timestamp,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        if matches!(actor.kind, ActorKind::User | ActorKind::Policy) || revoked.is_operator() {
            return Ok(());
        }
        let forget = self
            .parts
            .clock
            .now()
            .minus(self.parts.policies.longest_absolute_limit());
        for name in person_subjects(revoked) {
            let noted = self
                .parts
                .stores
                .cut_offs
                .set_cut_off(&name, before, forget);
            self.count_unconfirmed(noted.await?);
        }
        Ok(())
    }

    /// Whether the authentication of a new session is older than such a revocation. It asks the store, so a
    /// revocation takes effect on every replica at once.
    pub(super) async fn needs_new_authentication(&self, new: &Session) -> Result<bool, StoreError> {
        for name in person_subjects(new) {
            let not_before = self.parts.stores.cut_offs.cut_off(&name).await?;
            if not_before.is_some_and(|at| new.started < at) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The subjects of a person in the table of cut-offs: those at the provider and the subject here.
fn person_subjects(session: &Session) -> Vec<Subject> {
    let names = session.provider_names();
    let names = names.chain([session.subject.clone()]);
    names.map(|name| reauthentication_subject(&name)).collect()
}
