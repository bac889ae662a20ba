use std::io::Write;

use serde::Serialize;

use super::client::Answer;
use crate::cli::colour::{BAD, GOOD, painted};
use crate::cli::output::{self, stdout};
use crate::escape::{html, line};

/// What was checked, and what was seen.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    /// `None` where it could not be looked at.
    passed: Option<bool>,
    seen: String,
}

impl Report {
    pub(super) const fn len(&self) -> usize {
        self.checks.len()
    }

    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            checks: Vec::new(),
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| check.passed == Some(false))
            .count()
    }

    /// The door must be shut.
    pub(super) fn refused(&mut self, name: &str, answer: &Answer) {
        self.note(name, matches!(answer, Answer::Refused(_)), answer);
    }

    /// The door must be open.
    pub(super) fn served(&mut self, name: &str, answer: &Answer) {
        self.note(name, matches!(answer, Answer::Served(_)), answer);
    }

    /// Anything but the page.
    pub(super) fn not_served(&mut self, name: &str, answer: &Answer) {
        self.note(name, !matches!(answer, Answer::Served(_)), answer);
    }

    /// Whatever it is, but not the page as if for nobody.
    pub(super) fn not_anonymous(&mut self, name: &str, answer: &Answer) {
        self.note(name, !matches!(answer, Answer::Anonymous(_)), answer);
    }

    /// It is as it should be.
    pub(super) fn seen(&mut self, name: &str, seen: &str) {
        self.tell(name, Some(true), seen);
    }

    /// It could not be looked at, and is no success.
    pub(super) fn unknown(&mut self, name: &str, why: &str) {
        self.tell(name, None, why);
    }

    /// How many could not be looked at.
    pub(super) fn unknown_checks(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| check.passed.is_none())
            .count()
    }

    /// Says why there are no more.
    #[expect(clippy::unused_self, reason = "it is the end of this report")]
    pub(super) fn skip(&self, why: &str) {
        let _ = writeln!(stdout(), "      {why}");
    }

    fn note(&mut self, name: &str, passed: bool, answer: &Answer) {
        let seen = match answer {
            Answer::Served(code) => format!("served, {code}"),
            Answer::Anonymous(code) => format!("served, {code}, as if to nobody"),
            Answer::Refused(how) => format!("refused, {how}"),
            Answer::Trouble(what) => what.clone(),
        };
        self.tell(name, Some(passed), &seen);
    }

    fn tell(&mut self, name: &str, passed: Option<bool>, seen: &str) {
        let seen = line(seen).into_owned();
        let word = match passed {
            Some(true) => painted(GOOD, "ok   "),
            Some(false) => painted(BAD, "FAIL "),
            None => "?    ".to_owned(),
        };
        let _ = writeln!(anstream::stdout(), "{word} {}: {seen}", line(name));
        self.checks.push(Check {
            name: name.to_owned(),
            passed,
            seen,
        });
    }

    /// As JUnit has it, for a pipeline.
    pub(super) fn junit(&self) -> String {
        let cases: String = self
            .checks
            .iter()
            .map(|check| {
                let (name, seen) = (html(&check.name), html(&check.seen));
                let failure = match check.passed {
                    Some(true) => String::new(),
                    Some(false) => format!("<failure message=\"{seen}\"/>"),
                    None => format!("<skipped message=\"{seen}\"/>"),
                };
                format!(
                    "  <testcase classname=\"curfew.probe\" name=\"{name}\">{failure}</testcase>\n"
                )
            })
            .collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"curfew probe {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n{cases}</testsuite>\n",
            html(&self.url),
            self.len(),
            self.failed(),
            self.unknown_checks()
        )
    }

    pub(super) fn json(&self) -> String {
        output::to_json(self).unwrap_or_default() + "\n"
    }
}
