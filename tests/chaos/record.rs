//! The record of one run of a scenario: requests, faults and wrong answers. All client tasks share it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;
use crate::model::{Mistake, Severity};
use crate::recovery::Recovery;

/// The time after an event on the servers until the replicas must keep the limits that apply without a fault.
const CALM: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Record(Mutex<Observations>);

#[derive(Default)]
pub struct Observations {
    pub requests: u64,
    pub unavailable: u64,
    pub streams: u64,
    /// True after a replica was killed, which ends its connections without a Close frame.
    has_lost_connections: bool,
    /// True between the start and the end of a fault.
    is_faulty: bool,
    pub wrong_answers: Vec<WrongAnswer>,
    recovery: Recovery,
    /// The time of the last event on the servers, and its description.
    last_event: Option<(Instant, &'static str)>,
}

/// A wrong answer, and how often the same replica gave it for this session.
pub struct WrongAnswer {
    pub mistake: Mistake,
    pub severity: Severity,
    pub kind: &'static str,
    pub session: String,
    pub replica: usize,
    /// The description of the last event on the servers.
    pub after: &'static str,
    /// The seconds from this event to the request, and to the answer.
    pub seconds: (f64, f64),
    pub answer: String,
    pub times: u64,
    /// The log lines of the replicas about the session.
    pub log: Vec<String>,
}

impl Record {
    pub fn observations(&self) -> MutexGuard<'_, Observations> {
        self.0.lock().unwrap()
    }

    pub fn add_exchange(&self, exchange: &Exchange) {
        let mut observations = self.observations();
        observations.requests += 1;
        observations.unavailable += u64::from(exchange.is_unavailable());
    }

    pub fn add_stream(&self) {
        self.observations().streams += 1;
    }

    pub fn add_lost_connections(&self) {
        self.observations().has_lost_connections = true;
    }

    pub fn has_lost_connections(&self) -> bool {
        self.observations().has_lost_connections
    }

    /// Returns whether both replicas have worked without a fault for [`CALM`].
    pub fn is_calm(&self) -> bool {
        let observations = self.observations();
        let has_settled = |(at, _): (Instant, _)| at.elapsed() >= CALM;
        !observations.is_faulty
            && !observations.recovery.is_pending()
            && observations.last_event.is_none_or(has_settled)
    }

    pub fn add_steady_check(&self, session: &str, check: &Exchange) {
        self.observations().recovery.record_check(session, check);
    }

    /// Records an event on the servers. The details of later wrong answers contain the last event
    /// before them.
    pub fn add_event(&self, what: &'static str) {
        self.observations().last_event = Some((Instant::now(), what));
    }

    /// Records the start of a fault.
    pub fn begin_fault(&self, what: &'static str) {
        self.add_event(what);
        let mut observations = self.observations();
        observations.is_faulty = true;
        observations.recovery.close();
    }

    /// Records an event on the servers after which the replicas must recover.
    pub fn begin_recovery(&self, what: &'static str) {
        self.add_event(what);
        let mut observations = self.observations();
        observations.is_faulty = false;
        observations.recovery.start();
    }

    pub fn has_recovered(&self) -> bool {
        !self.observations().recovery.is_pending()
    }

    /// Records the end of the run.
    pub fn close(&self) {
        self.observations().recovery.close();
    }

    pub fn add_wrong_answer(
        &self,
        (mistake, severity): (Mistake, Severity),
        kind: &'static str,
        session: &str,
        exchange: &Exchange,
    ) {
        let mut observations = self.observations();
        let existing = observations.wrong_answers.iter_mut().find(|wrong| {
            let key = (wrong.mistake, wrong.severity, wrong.replica);
            wrong.session == session && key == (mistake, severity, exchange.replica)
        });
        if let Some(existing) = existing {
            existing.times += 1;
            return;
        }
        let (at, after) = observations
            .last_event
            .unwrap_or((exchange.sent, "the beginning"));
        let seconds = |time: Instant| match time.checked_duration_since(at) {
            Some(later) => later.as_secs_f64(),
            None => -(at - time).as_secs_f64(),
        };
        let status = exchange.status.map_or(0, u64::from);
        let wrong = WrongAnswer {
            mistake,
            severity,
            kind,
            session: session.to_owned(),
            replica: exchange.replica,
            after,
            seconds: (seconds(exchange.sent), seconds(exchange.arrived)),
            answer: format!("{status} {}", exchange.reason)
                .trim_end()
                .to_owned(),
            times: 1,
            log: Vec::new(),
        };
        observations.wrong_answers.push(wrong);
    }
}

impl Observations {
    /// Returns the number of wrong answers with this mistake and severity.
    pub fn count(&self, mistake: Mistake, severity: Severity) -> u64 {
        let matches = |wrong: &&WrongAnswer| wrong.mistake == mistake && wrong.severity == severity;
        self.wrong_answers
            .iter()
            .filter(matches)
            .map(|wrong| wrong.times)
            .sum()
    }

    pub const fn longest_recovery(&self) -> Duration {
        self.recovery.longest()
    }
}
