//! Formats the results as text.

use std::fmt::Write;

use crate::model::{Mistake, Severity};
use crate::record::{Facts, Wrong};
use crate::runner::Result;

/// The report describes at most this number of wrong answers for each run.
const MAX_DESCRIBED: usize = 20;

/// Returns a Markdown table with one row for each scenario.
pub fn table(results: &[Result]) -> String {
    let mut text = String::from(
        "| scenario | requests | unavailable | wrong denials | wrong admissions | longest recovery (s) |\n\
         |---|--:|--:|--:|--:|--:|\n",
    );
    for result in results {
        let sum = |number: fn(&Facts) -> u64| {
            let runs = result.runs.iter();
            runs.map(|run| number(&run.record.facts())).sum::<u64>()
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} |",
            result.scenario.name,
            sum(|facts| facts.requests),
            sum(|facts| facts.unavailable),
            result.count(Mistake::Denial),
            result.count(Mistake::Admission),
            result.recovery(),
        )
        .unwrap();
    }
    text
}

/// Returns the details of the wrong answers.
pub fn details(results: &[Result]) -> String {
    let mut text = String::new();
    for result in results {
        let name = result.scenario.name;
        for run in &result.runs {
            if let Some(panic) = &run.panic {
                writeln!(text, "- {name}: FAILED: {panic}").unwrap();
            }
            let facts = run.record.facts();
            let (certain, unconfirmed): (Vec<&Wrong>, Vec<&Wrong>) = facts
                .wrong
                .iter()
                .partition(|wrong| wrong.severity == Severity::Certain);
            for wrong in certain.iter().take(MAX_DESCRIBED) {
                writeln!(text, "- {name}: {}", description(wrong)).unwrap();
            }
            if certain.len() > MAX_DESCRIBED {
                writeln!(text, "- {name}: {} more", certain.len() - MAX_DESCRIBED).unwrap();
            }
            for wrong in unconfirmed.iter().take(MAX_DESCRIBED) {
                writeln!(text, "- {name}: not counted, {}", description(wrong)).unwrap();
            }
            drop(facts);
        }
        if !result.passed() {
            writeln!(text, "- {name}: FAILED").unwrap();
        }
    }
    text
}

fn description(wrong: &Wrong) -> String {
    let what = match (wrong.mistake, wrong.severity) {
        (Mistake::Denial, Severity::Certain) => "wrong denial",
        (Mistake::Admission, Severity::Certain) => "wrong admission",
        (Mistake::Denial, Severity::Unconfirmed) => "denial of an unconfirmed sign-in",
        (Mistake::Admission, Severity::Unconfirmed) => "admission after an unconfirmed revocation",
    };
    let (sent, answered) = wrong.seconds;
    let mut text = format!(
        "{what}, {} session {}, by replica {}, sent {sent:.3} s and answered {answered:.3} s after \
         \"{}\": {}, {} times",
        wrong.kind, wrong.session, wrong.replica, wrong.after, wrong.answer, wrong.times
    );
    for line in &wrong.log {
        write!(text, "\n    {line}").unwrap();
    }
    text
}
