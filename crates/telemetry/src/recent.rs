use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::events::SessionEnded;
use crate::session::{Session, SessionId, Timestamp};

/// Maximum number of events in memory. Above this number, the oldest events are removed.
const MAX_EVENTS: usize = 100;

/// The latest starts and ends of sessions in this process, for operators.
#[derive(Debug, Default)]
pub struct RecentEvents(Mutex<VecDeque<RecentEvent>>);

/// A start or an end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentEvent {
    /// The time of the start or end (RFC 3339).
    pub at: String,
    /// `created`, or the reason of the end.
    pub kind: &'static str,
    /// The session ID.
    pub session: String,
    /// The subject of the session.
    pub subject: String,
    /// The home policy of the session, which was fixed at the sign-in.
    pub policy: String,
}

impl RecentEvents {
    /// Adds the start of a session.
    pub fn add_start(&self, id: SessionId, session: &Session, now: Timestamp) {
        self.push(RecentEvent {
            at: now.to_string(),
            kind: "created",
            session: id.to_string(),
            subject: session.user_id().to_owned(),
            policy: session.policy.to_string(),
        });
    }

    /// Adds the end of a session.
    pub fn add_end(&self, ended: &SessionEnded) {
        self.push(RecentEvent {
            at: ended.ended.clone(),
            kind: ended.reason,
            session: ended.session.clone(),
            subject: ended.subject.clone(),
            policy: ended.policy.clone(),
        });
    }

    /// Returns the events, newest first.
    #[must_use]
    pub fn events(&self) -> Vec<RecentEvent> {
        self.0.lock().iter().rev().cloned().collect()
    }

    fn push(&self, event: RecentEvent) {
        let mut events = self.0.lock();
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_events_are_kept() {
        let recent = RecentEvents::default();
        for count in 0..MAX_EVENTS + 5 {
            recent.push(RecentEvent {
                at: count.to_string(),
                kind: "created",
                session: String::new(),
                subject: String::new(),
                policy: String::new(),
            });
        }
        let events = recent.events();
        assert_eq!(events.len(), MAX_EVENTS);
        assert_eq!((&*events[0].at, &*events[MAX_EVENTS - 1].at), ("104", "5"));
    }
}
