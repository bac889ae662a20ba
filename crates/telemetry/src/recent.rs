use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::events::SessionEnded;
use crate::session::{Session, SessionId, Timestamp};

/// How many events are kept.
const MAX_EVENTS: usize = 100;

/// What happened to sessions lately in this process: for people who look, not for auditors.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Event>>);

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// `created`, or the reason of the end.
    pub what: &'static str,
    /// The session.
    pub session: String,
    /// Whose it is.
    pub subject: String,
    /// Its home policy.
    pub policy: String,
}

impl Recent {
    /// A session was started.
    pub fn created(&self, id: SessionId, session: &Session, now: Timestamp) {
        self.note(Event {
            at: now.to_string(),
            what: "created",
            session: id.to_string(),
            subject: session.user_id().to_owned(),
            policy: session.policy.to_string(),
        });
    }

    /// A session has ended.
    pub fn ended(&self, ended: &SessionEnded) {
        self.note(Event {
            at: ended.ended.clone(),
            what: ended.reason,
            session: ended.session.clone(),
            subject: ended.subject.clone(),
            policy: ended.policy.clone(),
        });
    }

    /// The latest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().iter().rev().cloned().collect()
    }

    fn note(&self, event: Event) {
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
    fn the_latest_stay() {
        let recent = Recent::default();
        for count in 0..MAX_EVENTS + 5 {
            recent.note(Event {
                at: count.to_string(),
                what: "created",
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
