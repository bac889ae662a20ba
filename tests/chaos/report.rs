//! Formats the results as text.

use std::fmt::Write;

use crate::model::{Mistake, Severity};
use crate::record::{Observations, WrongAnswer};
use crate::runner::ScenarioResult;

/// The report describes at most this number of wrong answers for each run.
const MAX_DESCRIBED_ANSWERS: usize = 20;

/// Returns a Markdown table with one row for each scenario.
pub fn table(results: &[ScenarioResult]) -> String {
    let mut text = String::from(
        "| scenario | requests | unavailable | wrong denials | wrong admissions | streams | wrong cuts | late cuts | longest \
         recovery (s) |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for result in results {
        let sum = |number: fn(&Observations) -> u64| {
            let runs = result.runs.iter();
            runs.map(|run| number(&run.record.observations()))
                .sum::<u64>()
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            result.scenario.name,
            sum(|observations| observations.requests),
            sum(|observations| observations.unavailable),
            result.count(Mistake::Denial),
            result.count(Mistake::Admission),
            sum(|observations| observations.streams),
            result.count(Mistake::Cut),
            result.count(Mistake::LateCut),
            result.longest_recovery(),
        )
        .unwrap();
    }
    text
}

/// Returns the details of the wrong answers.
pub fn details(results: &[ScenarioResult]) -> String {
    let mut text = String::new();
    for result in results {
        let name = result.scenario.name;
        for run in &result.runs {
            if let Some(panic) = &run.panic {
                writeln!(text, "- {name}: FAILED: {panic}").unwrap();
            }
            let observations = run.record.observations();
            let (certain, unconfirmed): (Vec<&WrongAnswer>, Vec<&WrongAnswer>) = observations
                .wrong_answers
                .iter()
                .partition(|wrong| wrong.severity == Severity::Certain);
            for wrong in certain.iter().take(MAX_DESCRIBED_ANSWERS) {
                writeln!(text, "- {name}: {}", describe(wrong)).unwrap();
            }
            if certain.len() > MAX_DESCRIBED_ANSWERS {
                writeln!(
                    text,
                    "- {name}: {} more",
                    certain.len() - MAX_DESCRIBED_ANSWERS
                )
                .unwrap();
            }
            for wrong in unconfirmed.iter().take(MAX_DESCRIBED_ANSWERS) {
                writeln!(text, "- {name}: not counted, {}", describe(wrong)).unwrap();
            }
            drop(observations);
        }
        if !result.passed() {
            writeln!(text, "- {name}: FAILED").unwrap();
        }
    }
    text
}

fn describe(wrong: &WrongAnswer) -> String {
    let what = match (wrong.mistake, wrong.severity) {
        (Mistake::Denial, Severity::Certain) => "wrong denial",
        (Mistake::Admission, Severity::Certain) => "wrong admission",
        (Mistake::Denial, Severity::Unconfirmed) => "denial of an unconfirmed sign-in",
        (Mistake::Admission, Severity::Unconfirmed) => "admission after an unconfirmed revocation",
        (Mistake::Cut, Severity::Certain) => "wrong cut of a stream",
        (Mistake::LateCut, Severity::Certain) => "late cut of a stream",
        (Mistake::Cut, Severity::Unconfirmed) => "cut of a stream after an unconfirmed sign-in",
        (Mistake::LateCut, Severity::Unconfirmed) => "late cut after an unconfirmed revocation",
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
