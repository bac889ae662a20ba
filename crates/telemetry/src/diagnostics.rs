use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Recommendations for the operator: problems to fix while the service still works. `/readyz?verbose` shows the
/// latest lines of each source. New lines are also logged.
#[derive(Debug, Default)]
pub struct Diagnostics {
    lines: Mutex<BTreeMap<&'static str, Vec<String>>>,
    facts: Mutex<BTreeMap<&'static str, Vec<String>>>,
}

impl Diagnostics {
    /// Replaces the recommendations of a source. `lines` is empty if the source has no problem.
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

    /// Replaces the facts of a source. Facts are lines that need no action by the operator.
    pub fn inform(&self, source: &'static str, lines: Vec<String>) {
        self.facts.lock().insert(source, lines);
    }

    /// Returns the facts. Each line begins with its source.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        with_sources(&self.facts.lock())
    }

    /// Returns the recommendations. Each line begins with its source.
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
        let diagnostics = Diagnostics::default();
        diagnostics.set(
            "redis",
            vec!["upgrade Redis".to_owned(), "and that".to_owned()],
        );
        diagnostics.set("clock", vec!["the clock is slow".to_owned()]);
        diagnostics.set("redis", vec!["upgrade Redis".to_owned()]);
        assert_eq!(
            diagnostics.lines(),
            ["clock: the clock is slow", "redis: upgrade Redis"]
        );
        diagnostics.set("redis", Vec::new());
        diagnostics.set("clock", Vec::new());
        assert!(diagnostics.lines().is_empty());
    }
}
