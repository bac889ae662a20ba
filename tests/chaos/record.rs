//! The events of one run of a scenario. All client tasks share it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;
use crate::model::{Mistake, Severity};
use crate::recovery::Recovery;

#[derive(Default)]
pub struct Record(Mutex<Facts>);

#[derive(Default)]
pub struct Facts {
    pub requests: u64,
    pub unavailable: u64,
    pub wrong: Vec<Wrong>,
    recovery: Recovery,
    /// The last event on the servers, and its time.
    mark: Option<(Instant, &'static str)>,
}

/// A wrong answer, and how often the same replica gave it for this session.
pub struct Wrong {
    pub mistake: Mistake,
    pub severity: Severity,
    pub kind: &'static str,
    pub session: String,
    pub replica: usize,
    /// The last event before it, and the seconds since then until the request was sent and answered.
    pub after: &'static str,
    pub seconds: (f64, f64),
    pub answer: String,
    pub times: u64,
    /// The log lines of the replicas about the session.
    pub log: Vec<String>,
}

impl Record {
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap()
    }

    pub fn exchanged(&self, exchange: &Exchange) {
        let mut facts = self.facts();
        facts.requests += 1;
        facts.unavailable += u64::from(exchange.is_unavailable());
    }

    pub fn steady(&self, session: &str, check: &Exchange) {
        self.facts().recovery.judge_check(session, check);
    }

    /// Records an event on the servers, for the details of later wrong answers.
    pub fn note(&self, what: &'static str) {
        self.facts().mark = Some((Instant::now(), what));
    }

    /// Records the start of a fault.
    pub fn fault(&self, what: &'static str) {
        self.note(what);
        self.facts().recovery.close();
    }

    /// Records that the replicas have to recover from now on.
    pub fn recovers(&self, what: &'static str) {
        self.note(what);
        self.facts().recovery.start();
    }

    pub fn has_recovered(&self) -> bool {
        !self.facts().recovery.is_awaited()
    }

    /// Records the end of the run.
    pub fn close(&self) {
        self.facts().recovery.close();
    }

    pub fn wrong(
        &self,
        (mistake, severity): (Mistake, Severity),
        kind: &'static str,
        session: &str,
        exchange: &Exchange,
    ) {
        let mut facts = self.facts();
        let known = facts.wrong.iter_mut().find(|wrong| {
            let same = (wrong.mistake, wrong.severity, wrong.replica);
            wrong.session == session && same == (mistake, severity, exchange.replica)
        });
        if let Some(known) = known {
            known.times += 1;
            return;
        }
        let (at, after) = facts.mark.unwrap_or((exchange.sent, "the beginning"));
        let seconds = |time: Instant| match time.checked_duration_since(at) {
            Some(later) => later.as_secs_f64(),
            None => -(at - time).as_secs_f64(),
        };
        let status = exchange.status.map_or(0, u64::from);
        let wrong = Wrong {
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
        facts.wrong.push(wrong);
    }
}

impl Facts {
    /// The number of wrong answers of a kind.
    pub fn count(&self, mistake: Mistake, severity: Severity) -> u64 {
        let of_sort = |wrong: &&Wrong| wrong.mistake == mistake && wrong.severity == severity;
        self.wrong
            .iter()
            .filter(of_sort)
            .map(|wrong| wrong.times)
            .sum()
    }

    pub const fn recovery(&self) -> Duration {
        self.recovery.longest()
    }
}
