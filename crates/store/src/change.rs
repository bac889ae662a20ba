use std::sync::Arc;

use crate::session::{Attributes, Details, Session, State};

/// A change of the details or attributes of a live session. It is not activity, and it changes no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The details that the record must have; otherwise nothing changes (compare-and-set).
    pub expected: Option<Arc<Details>>,
    /// The new details.
    pub details: Option<Arc<Details>>,
    /// The new attributes; `None` keeps the current ones.
    pub attributes: Option<Attributes>,
}

/// The result of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The record was changed; the new record.
    Changed(Session),
    /// The details were not the expected ones; the unchanged record.
    Differs(Session),
    /// The session has ended; the unchanged tombstone.
    Ended(Session),
    /// There is no record.
    Unknown,
}

impl Change {
    /// Applies the change to a record.
    pub(super) fn of(&self, session: Session) -> ChangeOutcome {
        if session.state != State::Live {
            return ChangeOutcome::Ended(session);
        }
        if session.details != self.expected {
            return ChangeOutcome::Differs(session);
        }
        ChangeOutcome::Changed(Session {
            details: self.details.clone(),
            attributes: self.attributes.clone().unwrap_or(session.attributes),
            ..session
        })
    }
}
