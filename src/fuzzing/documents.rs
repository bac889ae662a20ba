use std::time::Duration;

use crate::config::{ConfigError, load_text};
use crate::lint::{self, LintLimits};

/// Checks that the parser accepts a configuration, or rejects it with a message for each mistake.
pub(super) fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match load_text(text) {
        Ok(_) => {}
        Err(ConfigError::Problems(problems)) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
        Err(other) => assert!(!other.to_string().is_empty()),
    }
}

/// Checks that all findings in a proxy's file have valid line numbers.
pub(super) fn lint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let limits = LintLimits {
        idle: Some(Duration::from_secs(900)),
        absolute: Duration::from_secs(8 * 3600),
        touch_interval: Duration::from_secs(15),
    };
    if let Ok(findings) = lint::lint(text, &limits) {
        // Each of these characters is a line break in YAML.
        let line_count = 1 + text.matches(['\n', '\r']).count();
        let mut line_numbers = findings.iter().map(|finding| finding.line);
        assert!(line_numbers.all(|line| (1..=line_count).contains(&line)));
    }
}
