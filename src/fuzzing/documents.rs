use std::time::Duration;

use crate::config::{ConfigError, load_text};
use crate::lint::{self, LintLimits};

/// Parses a configuration. It is accepted, or rejected with a message for each mistake.
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

/// Lints a proxy's file. All findings have valid line numbers.
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
        // In YAML, both characters are line breaks.
        let lines = 1 + text.matches(['\n', '\r']).count();
        let mut lines_of = findings.iter().map(|finding| finding.line);
        assert!(lines_of.all(|line| (1..=lines).contains(&line)));
    }
}
