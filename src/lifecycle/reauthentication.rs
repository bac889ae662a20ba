//! After a revocation, only a later authentication can start a session. A session end by the person or by a policy has
//! no such effect.
//!
//! The identity provider has its own session, and would sign the person in again without asking for a password. So a
//! revocation sets a cut-off (a time) for the person. If the authentication was before this time, no credential starts
//! a session, whatever its source. The cut-off does not affect live sessions.

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
        let forget_before = self
            .parts
            .clock
            .now()
            .minus(self.parts.policies.longest_absolute_limit());
        for name in person_subjects(revoked) {
            let replication = self
                .parts
                .stores
                .cut_offs
                .set_cut_off(&name, before, forget_before);
            self.count_unconfirmed(replication.await?);
        }
        Ok(())
    }

    /// Whether the authentication of a new session was before a revocation that requires a new authentication. The
    /// call asks the store, so a revocation takes effect on every replica at once.
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

/// Returns the subjects that represent a person in the table of cut-offs: the names at the provider, and the subject
/// in Curfew.
fn person_subjects(session: &Session) -> Vec<Subject> {
    let names = session.provider_names();
    let names = names.chain([session.subject.clone()]);
    names.map(|name| reauthentication_subject(&name)).collect()
}
