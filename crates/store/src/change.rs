use std::sync::Arc;

use crate::session::{Attributes, Details, Session, State};

/// A change of what is known of a live session. It is no activity, and moves no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The details that the record must still have; with others the change does not happen.
    pub expected: Option<Arc<Details>>,
    /// The details from now on.
    pub details: Option<Arc<Details>>,
    /// The attributes from now on; `None` leaves them.
    pub attributes: Option<Attributes>,
}

/// What became of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// Changed by this call; the record as it is now.
    Changed(Session),
    /// The details were others than expected; the record, unchanged.
    Differs(Session),
    /// The session has ended; its tombstone, unchanged.
    Ended(Session),
    /// There is no record.
    Unknown,
}

impl Change {
    /// What becomes of the change, where this is the record.
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
