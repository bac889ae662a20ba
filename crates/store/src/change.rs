use std::sync::Arc;

use crate::session::{Attributes, Details, Session, State};

/// A change of the details or attributes of a live session. A change does not count as activity, and does not change
/// a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The details that the record must have (compare-and-set); `None` means no details. If the record has other
    /// details, nothing changes.
    pub expected: Option<Arc<Details>>,
    /// The new details; `None` removes the details.
    pub details: Option<Arc<Details>>,
    /// The new attributes; `None` keeps the current ones.
    pub attributes: Option<Attributes>,
}

/// The result of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The record was changed. The variant contains the new record.
    Changed(Session),
    /// The record did not have the expected details. The variant contains the unchanged record.
    Differs(Session),
    /// The session has ended. The variant contains the unchanged tombstone.
    Ended(Session),
    /// There is no record.
    Unknown,
}

impl Change {
    /// Applies the change to a record.
    pub(super) fn apply_to(&self, session: Session) -> ChangeOutcome {
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
