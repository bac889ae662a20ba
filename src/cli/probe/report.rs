use std::io::Write;

use serde::Serialize;

use super::client::Answer;
use crate::cli::colour::{FAILED_STYLE, PASSED_STYLE, paint};
use crate::cli::output::{self, stdout};
use crate::escape::{html, line};

/// The steps of a probe and their results.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    /// `None` if the step could not be checked.
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

    pub(super) fn failed_count(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| check.passed == Some(false))
            .count()
    }

    /// Adds a step that passes if the request was refused.
    pub(super) fn expect_refused(&mut self, name: &str, answer: &Answer) {
        self.add_answer(name, matches!(answer, Answer::Refused(_)), answer);
    }

    /// Adds a step that passes if the page was served.
    pub(super) fn expect_served(&mut self, name: &str, answer: &Answer) {
        self.add_answer(name, matches!(answer, Answer::Served(_)), answer);
    }

    /// Adds a step that passes unless the page was served.
    pub(super) fn expect_not_served(&mut self, name: &str, answer: &Answer) {
        self.add_answer(name, !matches!(answer, Answer::Served(_)), answer);
    }

    /// Adds a step that passes unless the page was served without the identity.
    pub(super) fn expect_identity(&mut self, name: &str, answer: &Answer) {
        self.add_answer(name, !matches!(answer, Answer::Anonymous(_)), answer);
    }

    /// Adds a step with its result.
    pub(super) fn expect(&mut self, name: &str, passed: bool, seen: &str) {
        self.add(name, Some(passed), seen);
    }

    /// Adds a passed step.
    pub(super) fn add_passed(&mut self, name: &str, seen: &str) {
        self.add(name, Some(true), seen);
    }

    /// Adds a step that could not be checked; it counts as neither passed nor failed.
    pub(super) fn add_unknown(&mut self, name: &str, why: &str) {
        self.add(name, None, why);
    }

    /// Returns the number of steps that could not be checked.
    pub(super) fn unknown_count(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| check.passed.is_none())
            .count()
    }

    /// Prints why the remaining steps are skipped.
    #[expect(clippy::unused_self, reason = "the line belongs to this report")]
    pub(super) fn print_skipped(&self, why: &str) {
        let _ = writeln!(stdout(), "      {why}");
    }

    fn add_answer(&mut self, name: &str, passed: bool, answer: &Answer) {
        let seen = match answer {
            Answer::Served(code) => format!("served, {code}"),
            Answer::Anonymous(code) => format!("served, {code}, without the identity"),
            Answer::Refused(how) => format!("refused, {how}"),
            Answer::Error(error) => error.clone(),
        };
        self.add(name, Some(passed), &seen);
    }

    fn add(&mut self, name: &str, passed: Option<bool>, seen: &str) {
        let seen = line(seen).into_owned();
        let word = match passed {
            Some(true) => paint(PASSED_STYLE, "ok   "),
            Some(false) => paint(FAILED_STYLE, "FAIL "),
            None => "?    ".to_owned(),
        };
        let _ = writeln!(anstream::stdout(), "{word} {}: {seen}", line(name));
        self.checks.push(Check {
            name: name.to_owned(),
            passed,
            seen,
        });
    }

    /// Formats the report as JUnit XML.
    pub(super) fn to_junit(&self) -> String {
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
            self.failed_count(),
            self.unknown_count()
        )
    }

    pub(super) fn to_json(&self) -> String {
        output::to_json(self).unwrap_or_default() + "\n"
    }
}
