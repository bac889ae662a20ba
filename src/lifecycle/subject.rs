//! What concerns all sessions of a subject.

use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::session::{Session, SessionId, State, Subject, Timestamp};
use crate::store::{Cursor, EndOutcome, Ending, Replication, SessionStore, StoreError};
use crate::telemetry::audit;

/// What became of the sessions of a subject that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedAll {
    /// How many sessions lived until now.
    pub revoked: usize,
    /// All that started before this have ended.
    pub not_before: Timestamp,
    /// How many replicas of the store have all of this.
    pub replication: Replication,
}

/// How many records a subject has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectCount {
    /// Sessions that live.
    pub live: usize,
    /// Tombstones that are still kept.
    pub ended: usize,
}

impl Lifecycle {
    /// Ends every session of a subject on purpose that started before `before` (now, when that is
    /// left out), and says how many lived until then. Sessions that start later live.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed on the way: some may have been ended. Repeating it is
    /// safe.
    pub async fn revoke_all(
        &self,
        subject: &Subject,
        before: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<RevokedAll, StoreError> {
        let (this, subject, actor) = (self.clone(), subject.clone(), actor.clone());
        run_detached(async move {
            let now = this.clock.now();
            let not_before = before.unwrap_or(now).min(now);
            // What started before that is over by its absolute limit.
            let forget = now.minus(this.policies.longest());
            let mut replication = this
                .not_before
                .set_not_before(&subject, not_before, forget)
                .await?;
            audit::subject_revoked(&subject, not_before, &actor);
            let (mut revoked, mut ended) = (0, Vec::new());
            let ending = Ending::revoked(now);
            let mut pages = Pages::of(&subject);
            while let Some(page) = pages.next(&*this.store).await? {
                for (id, session) in page {
                    let meant = match before {
                        Some(before) => session.started < before,
                        // Whoever signs in meanwhile is not meant.
                        None => session.started <= now,
                    };
                    if !meant {
                        continue;
                    }
                    let outcome = this.end(id, ending, &actor).await?;
                    revoked += usize::from(matches!(outcome, EndOutcome::Ended(_)));
                    // Those that had ended, too: who asks again wants to know of them.
                    ended.push(id);
                }
            }
            for id in &ended {
                if !replication.is_confirmed() {
                    break;
                }
                replication = this.confirmation(*id).await;
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

    /// How many records a subject has.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    pub async fn count(&self, subject: &Subject) -> Result<SubjectCount, StoreError> {
        let mut count = SubjectCount::default();
        let mut pages = Pages::of(subject);
        while let Some(page) = pages.next(&*self.store).await? {
            let now = self.clock.now();
            for (_, session) in page {
                let over = now >= self.policies.deadline(&session) || self.is_revoked(&session);
                if session.state == State::Live && !over {
                    count.live += 1;
                } else {
                    count.ended += 1;
                }
            }
        }
        Ok(count)
    }
}

/// All records of a subject, page by page.
pub(super) struct Pages<'a> {
    subject: &'a Subject,
    /// The end of the page before.
    after: Option<Cursor>,
    done: bool,
}

impl<'a> Pages<'a> {
    pub(super) const fn of(subject: &'a Subject) -> Self {
        Self {
            subject,
            after: None,
            done: false,
        }
    }

    pub(super) async fn next(
        &mut self,
        store: &dyn SessionStore,
    ) -> Result<Option<Vec<(SessionId, Session)>>, StoreError> {
        /// How many are read at a time.
        const PAGE: usize = 100;
        if self.done {
            return Ok(None);
        }
        let page = store.list(self.subject, self.after, PAGE).await?;
        self.after = page.next;
        self.done = page.next.is_none();
        Ok(Some(page.sessions))
    }
}
