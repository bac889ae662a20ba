use std::fmt;

/// One mistake in a configuration: origin, key, value and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file, `environment CURFEW__…`, or `default`.
    pub origin: String,
    /// The key, with dots.
    pub key: String,
    /// The written value, if any; secrets are redacted.
    pub value: Option<String>,
    /// The mistake, and a hint.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file or the environment could not be read or parsed.
    #[error("{0}")]
    Source(String),
    /// Every mistake that was found.
    #[error("{}", join_lines(.0))]
    Problems(Vec<ConfigProblem>),
}

fn join_lines(problems: &[ConfigProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
