use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What an operator should change although the service works. Each source has its latest lines, which
/// `/readyz?verbose` shows. New lines are also logged.
#[derive(Debug, Default)]
pub struct Diagnostics {
    lines: Mutex<BTreeMap<&'static str, Vec<String>>>,
    facts: Mutex<BTreeMap<&'static str, Vec<String>>>,
}

impl Diagnostics {
    /// Replaces the lines of a source; no lines if there is no problem.
    pub fn set(&self, source: &'static str, lines: Vec<String>) {
        let mut all = self.lines.lock();
        let before = all.entry(source).or_default();
        for line in lines.iter().filter(|line| !before.contains(line)) {
            tracing::warn!(source, "{line}");
        }
        if lines.is_empty() && !before.is_empty() {
            tracing::info!(source, "no recommendations left");
        }
        *before = lines;
    }

    /// Replaces a source's lines that need no action.
    pub fn inform(&self, source: &'static str, lines: Vec<String>) {
        self.facts.lock().insert(source, lines);
    }

    /// The lines that need no action, each with its source in front.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        with_sources(&self.facts.lock())
    }

    /// The recommendations, each with its source in front.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        with_sources(&self.lines.lock())
    }
}

fn with_sources(all: &BTreeMap<&'static str, Vec<String>>) -> Vec<String> {
    all.iter()
        .flat_map(|(source, lines)| lines.iter().map(move |line| format!("{source}: {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_of_each_source_are_shown() {
        let advice = Diagnostics::default();
        advice.set(
            "redis",
            vec!["upgrade Redis".to_owned(), "and that".to_owned()],
        );
        advice.set("clock", vec!["the clock is slow".to_owned()]);
        advice.set("redis", vec!["upgrade Redis".to_owned()]);
        assert_eq!(
            advice.lines(),
            ["clock: the clock is slow", "redis: upgrade Redis"]
        );
        advice.set("redis", Vec::new());
        advice.set("clock", Vec::new());
        assert!(advice.lines().is_empty());
    }
}
