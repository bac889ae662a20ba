use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Recommendations for the operator: problems that the operator should fix, although the service still works. Each part
/// of Curfew that finds problems has a name (the argument `source`), such as `redis`. `/readyz?verbose` shows the
/// latest lines of each part. New recommendations are also logged.
#[derive(Debug, Default)]
pub struct Diagnostics {
    recommendations: Mutex<BTreeMap<&'static str, Vec<String>>>,
    information: Mutex<BTreeMap<&'static str, Vec<String>>>,
}

impl Diagnostics {
    /// Replaces the recommendations of the part `source`. `lines` is empty if this part has found no problem.
    pub fn set_recommendations(&self, source: &'static str, lines: Vec<String>) {
        let mut all = self.recommendations.lock();
        let before = all.entry(source).or_default();
        for line in lines.iter().filter(|line| !before.contains(line)) {
            tracing::warn!(source, "{line}");
        }
        if lines.is_empty() && !before.is_empty() {
            tracing::info!(source, "earlier recommendations no longer apply");
        }
        *before = lines;
    }

    /// Replaces the information of the part `source`. These lines need no action by the operator.
    pub fn set_information(&self, source: &'static str, lines: Vec<String>) {
        self.information.lock().insert(source, lines);
    }

    /// Returns the information of all parts. Each line begins with the name of its part.
    #[must_use]
    pub fn information(&self) -> Vec<String> {
        lines_with_sources(&self.information.lock())
    }

    /// Returns the recommendations of all parts. Each line begins with the name of its part.
    #[must_use]
    pub fn recommendations(&self) -> Vec<String> {
        lines_with_sources(&self.recommendations.lock())
    }
}

fn lines_with_sources(all: &BTreeMap<&'static str, Vec<String>>) -> Vec<String> {
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
        diagnostics.set_recommendations(
            "redis",
            vec!["upgrade Redis".to_owned(), "and that".to_owned()],
        );
        diagnostics.set_recommendations("clock", vec!["the clock is slow".to_owned()]);
        diagnostics.set_recommendations("redis", vec!["upgrade Redis".to_owned()]);
        assert_eq!(
            diagnostics.recommendations(),
            ["clock: the clock is slow", "redis: upgrade Redis"]
        );
        diagnostics.set_recommendations("redis", Vec::new());
        diagnostics.set_recommendations("clock", Vec::new());
        assert!(diagnostics.recommendations().is_empty());
    }
}
