//! Operations on all sessions of a subject.

use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::session::{Session, SessionId, State, Subject, Timestamp};
use crate::store::{Cursor, EndOutcome, EndRequest, Replication, SessionStore, StoreError};
use crate::telemetry::audit;

/// The result of revoking all sessions of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedAll {
    /// The number of live sessions that were ended.
    pub revoked: usize,
    /// The cut-off: all sessions of the subject that started before this time have ended.
    pub not_before: Timestamp,
    /// How many Redis replicas have stored the cut-off and the ends.
    pub replication: Replication,
}

/// The number of records of a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectCount {
    /// Live sessions.
    pub live: usize,
    /// Tombstones (records of ended sessions), and sessions that have reached a limit.
    pub ended: usize,
}

impl Lifecycle {
    /// Ends every session of a subject that started before the time `before` (default: now). Sessions that start
    /// later are not affected. Returns the number of live sessions that were ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed before all these sessions were ended. Some of them may have ended.
    /// Repeating the call is safe.
    pub async fn revoke_all(
        &self,
        subject: &Subject,
        before: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<RevokedAll, StoreError> {
        let (this, subject, actor) = (self.clone(), subject.clone(), actor.clone());
        run_detached(async move {
            let now = this.parts.clock.now();
            let not_before = before.unwrap_or(now).min(now);
            // Cut-offs before `forget_before` are no longer needed, because earlier sessions have reached their
            // absolute limits.
            let forget_before = now.minus(this.parts.policies.longest_absolute_limit());
            let mut replication = this
                .parts
                .stores
                .cut_offs
                .set_cut_off(&subject, not_before, forget_before)
                .await?;
            audit::subject_revoked(&subject, not_before, &actor);
            let (mut revoked, mut ended) = (0, Vec::new());
            let ending = EndRequest::revoked(now);
            let mut pages = Pages::of(&subject);
            while let Some(page) = pages.next(&*this.parts.stores.sessions).await? {
                for (id, session) in page {
                    let is_affected = match before {
                        Some(before) => session.started < before,
                        // A sign-in that starts during this call is not affected.
                        None => session.started <= now,
                    };
                    if !is_affected {
                        continue;
                    }
                    let outcome = this.end(id, ending, &actor).await?;
                    revoked += usize::from(matches!(outcome, EndOutcome::Ended(_)));
                    // Include sessions that had already ended, so that a repeated call confirms their replication,
                    // too.
                    ended.push(id);
                }
            }
            for id in &ended {
                if !replication.is_confirmed() {
                    break;
                }
                replication = this.wait_for_replication(*id).await;
            }
            this.count_unconfirmed(replication);
            Ok(RevokedAll {
                revoked,
                not_before,
                replication,
            })
        })
        .await
    }

    /// Counts the records of a subject.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn count(&self, subject: &Subject) -> Result<SubjectCount, StoreError> {
        let mut count = SubjectCount::default();
        let mut pages = Pages::of(subject);
        while let Some(page) = pages.next(&*self.parts.stores.sessions).await? {
            let now = self.parts.clock.now();
            for (_, session) in page {
                let is_over =
                    now >= self.parts.policies.deadline(&session) || self.is_revoked(&session);
                if session.state == State::Live && !is_over {
                    count.live += 1;
                } else {
                    count.ended += 1;
                }
            }
        }
        Ok(count)
    }
}

/// Reads all records of a subject in pages.
pub(super) struct Pages<'a> {
    subject: &'a Subject,
    /// The cursor at the end of the previous page.
    after: Option<Cursor>,
    is_finished: bool,
}

impl<'a> Pages<'a> {
    pub(super) const fn of(subject: &'a Subject) -> Self {
        Self {
            subject,
            after: None,
            is_finished: false,
        }
    }

    pub(super) async fn next(
        &mut self,
        store: &dyn SessionStore,
    ) -> Result<Option<Vec<(SessionId, Session)>>, StoreError> {
        /// The number of records per page.
        const PAGE_SIZE: usize = 100;
        if self.is_finished {
            return Ok(None);
        }
        let page = store.list(self.subject, self.after, PAGE_SIZE).await?;
        self.after = page.next;
        self.is_finished = page.next.is_none();
        Ok(Some(page.sessions))
    }
}
