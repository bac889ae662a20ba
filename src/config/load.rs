use std::collections::HashMap;
use std::path::Path;

use ::config as layers;
use layers::{FileFormat, Value, ValueKind};

use super::Config;
use super::mistakes::Mistake;
use super::problem::{ConfigError, ConfigProblem};
use super::section::Redaction;
use super::sections::{RawConfig, redaction};
use super::text::{redact_credentials, redact_url};
use super::validate;
use crate::policy::{Rulebook, SignInSource};
use crate::secret::REDACTED;
use crate::yaml::{self, YamlError};

/// Environment variables, by name.
pub type Environment = HashMap<String, String>;

/// The prefix of Curfew's environment variables. The rest is the key, with `__` instead of dots.
const ENVIRONMENT_PREFIX: &str = "CURFEW__";

/// A parsed configuration, and the same configuration as text values.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The parsed configuration.
    pub config: Config,
    /// Every key with its effective value. Serialization redacts secrets.
    pub effective: RawConfig,
}

/// Reads the configuration: defaults, then `file` (YAML or TOML), then `environment`.
///
/// # Errors
/// [`ConfigError`] with every mistake: its origin, key and value.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
    MergedConfig::read(file, environment)?.load()
}

/// Parses YAML text as a configuration, without environment variables.
///
/// # Errors
/// [`ConfigError`] with every mistake: its origin, key and value.
#[cfg(any(test, feature = "fuzzing"))]
pub fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let text = ConfigText {
        origin: "text".to_owned(),
        text: text.to_owned(),
        format: FileFormat::Yaml,
    };
    MergedConfig::merge(Some(text), &Environment::new())?.load()
}

/// Reads only the policies, rules and hosts of a configuration. Files with secrets do not have to
/// exist, and servers are not checked.
///
/// # Errors
/// [`ConfigError`] with every mistake in these parts: its origin, key and value.
pub fn load_rulebook(
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Rulebook, ConfigError> {
    let merged = MergedConfig::read(file, environment)?;
    let mut effective = merged.parse()?;
    validate::validate_book(&mut effective).map_err(|mistakes| merged.to_error(mistakes))
}

/// The parts of a configuration that decide how long people stay signed in.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The policies, rules and hosts.
    pub rulebook: Rulebook,
    /// The configured ways to sign in.
    pub sign_ins: Vec<SignInSource>,
    /// The hosts whose requests Curfew forwards itself, as the configuration names them. Empty if the proxy listener is
    /// off.
    pub forwarded_hosts: Vec<String>,
}

/// Reads the policies, rules and hosts as [`load_rulebook`] does, the configured ways to sign in, and the forwarded hosts.
///
/// # Errors
/// [`ConfigError`] with every mistake in these parts: its origin, key and value.
pub fn load_session_settings(
    file: Option<&Path>,
    environment: &Environment,
) -> Result<SessionSettings, ConfigError> {
    let merged = MergedConfig::read(file, environment)?;
    let mut effective = merged.parse()?;
    validate::validate_session_settings(&mut effective)
        .map_err(|mistakes| merged.to_error(mistakes))
}

/// The text of a configuration file.
#[derive(Clone, Debug)]
struct ConfigText {
    origin: String,
    text: String,
    format: FileFormat,
}

impl ConfigText {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => FileFormat::Yaml,
            Some("toml") => FileFormat::Toml,
            _ => {
                let path = path.display();
                return Err(ConfigError::Source(format!(
                    "{path}: the name of a configuration file must end in .yaml, .yml or .toml"
                )));
            }
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Source(format!("{}: {error}", path.display())))?;
        // Do not parse the text here, because `collect` parses it. For error messages, keep the path as the user wrote
        // it.
        Ok(Self {
            origin: path.display().to_string(),
            text,
            format,
        })
    }
}

impl layers::Source for ConfigText {
    fn clone_into_box(&self) -> Box<dyn layers::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<layers::Map<String, Value>, layers::ConfigError> {
        if self.format == FileFormat::Yaml
            && let Err(limit_error @ (YamlError::TooDeep(_) | YamlError::TooLarge(_))) =
                yaml::check(&self.text)
        {
            return Err(layers::ConfigError::FileParse {
                uri: Some(self.origin.clone()),
                cause: Box::new(limit_error),
            });
        }
        let parsed = layers::Format::parse(&self.format, Some(&self.origin), &self.text);
        parsed.map_err(|cause| layers::ConfigError::FileParse {
            uri: Some(self.origin.clone()),
            cause,
        })
    }
}

/// The values of the configuration file and the environment. Every value has its origin.
struct MergedConfig {
    root: Value,
    /// The origin that errors name for a value without its own origin, such as an empty table.
    default_origin: String,
}

impl MergedConfig {
    fn read(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        Self::merge(file.map(ConfigText::read).transpose()?, environment)
    }

    /// Merges the file and the environment. A value of the environment overrides a value of the file.
    fn merge(text: Option<ConfigText>, environment: &Environment) -> Result<Self, ConfigError> {
        let default_origin = text
            .as_ref()
            .map_or("environment", |text| &text.origin)
            .to_owned();
        let mut builder = layers::Config::builder();
        if let Some(text) = text {
            builder = builder.add_source(text);
        }
        let environment = layers::Environment::with_prefix("CURFEW")
            .prefix_separator("__")
            .separator("__")
            .source(Some(environment.clone().into_iter().collect()));
        let merged = builder.add_source(environment).build();
        let merged = merged.map_err(|error| ConfigError::Source(error.to_string()))?;
        Ok(Self {
            root: merged.cache,
            default_origin,
        })
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        let mut effective = self.parse()?;
        let config =
            validate::validate(&mut effective).map_err(|mistakes| self.to_error(mistakes))?;
        Ok(Loaded { config, effective })
    }

    /// Converts mistakes to an error that has the origin and the written value of each mistake.
    fn to_error(&self, mistakes: Vec<Mistake>) -> ConfigError {
        let mistakes = mistakes.into_iter();
        ConfigError::Problems(
            mistakes
                .map(|mistake| self.problem_at(mistake.key, mistake.message))
                .collect(),
        )
    }

    /// Deserializes the merged configuration. Fails at an unknown key or a value of the wrong type.
    fn parse(&self) -> Result<RawConfig, ConfigError> {
        serde_path_to_error::deserialize(self.root.clone()).map_err(|error| {
            // Replace `[0]` with `.0`, the format of a list index in a key.
            let path = error.path().to_string().replace('[', ".").replace(']', "");
            let message = message_without_location(error.into_inner());
            let problem = match parse_unknown_key(&message) {
                Some((field, expected)) => self.unknown_key_problem(&path, field, &expected),
                None if redaction(&path) == Redaction::Full => {
                    self.problem_at(path, "expected text".to_owned())
                }
                None => self.problem_at(path, message),
            };
            ConfigError::Problems(vec![problem])
        })
    }

    /// Builds a problem at `key`, with the origin and the written value.
    fn problem_at(&self, key: String, message: String) -> ConfigProblem {
        let value = self.find_value(&key);
        let origin = value.map_or_else(
            || "default".to_owned(),
            |value| self.describe_origin(&key, value),
        );
        ConfigProblem {
            origin,
            value: value.and_then(|value| display_value(&key, value)),
            key,
            message,
        }
    }

    fn unknown_key_problem(&self, path: &str, field: &str, expected: &[&str]) -> ConfigProblem {
        let parent = path
            .strip_suffix(field)
            .map_or(path, |parent| parent.trim_end_matches('.'));
        let key = if matches!(parent, "" | ".") {
            field.to_owned()
        } else {
            format!("{parent}.{field}")
        };
        if let Some(new) = new_key_name(&key) {
            // Redact the value of the old key in the same way as a value of the new key.
            let new_key = match new.contains('.') {
                true => new.to_owned(),
                false => format!("{}{new}", &key[..key.len() - field.len()]),
            };
            let value = self
                .find_value(&key)
                .and_then(|value| display_value(&new_key, value));
            let message = format!("is an old name of `{new_key}`: use that key");
            return ConfigProblem {
                value,
                ..self.problem_at(key, message)
            };
        }
        let nearest = expected
            .iter()
            .map(|known| (strsim::osa_distance(known, field), known))
            .min()
            .filter(|(distance, known)| *distance <= (known.len() / 2).max(2));
        let hint = nearest.map_or_else(String::new, |(_, known)| {
            format!("; did you mean `{known}`?")
        });
        let message = format!("unknown key{hint} (known here: {})", expected.join(", "));
        // The key can be a misspelt key of a secret. Show the value only if the intended key is clear, and redact it in
        // the same way as a value of the intended key.
        let intended = nearest
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, known)| format!("{}{known}", &key[..key.len() - field.len()]));
        let value = intended.and_then(|intended| display_value(&intended, self.find_value(&key)?));
        ConfigProblem {
            value,
            ..self.problem_at(key, message)
        }
    }

    /// Returns the origin of a value as text for an error message.
    fn describe_origin(&self, key: &str, value: &Value) -> String {
        match find_origin(value) {
            Some("the environment") => {
                format!(
                    "environment {ENVIRONMENT_PREFIX}{}",
                    key.replace('.', "__").to_uppercase()
                )
            }
            Some(origin) => origin.to_owned(),
            None => self.default_origin.clone(),
        }
    }

    fn find_value(&self, key: &str) -> Option<&Value> {
        key.split('.')
            .try_fold(&self.root, |value, segment| match &value.kind {
                ValueKind::Table(table) => table.get(segment),
                ValueKind::Array(items) => items.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }
}

/// Returns the origin of a value. A merged table has no origin of its own, so for a table, returns the origin of a
/// value in the table.
fn find_origin(value: &Value) -> Option<&str> {
    value.origin().or_else(|| match &value.kind {
        ValueKind::Table(table) => table.values().find_map(find_origin),
        _ => None,
    })
}

/// Returns the value as text for an error message, redacted if needed. Tables, lists and empty values are not shown.
fn display_value(key: &str, value: &Value) -> Option<String> {
    if matches!(
        value.kind,
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil
    ) {
        return None;
    }
    let text = value.clone().into_string().ok();
    match redaction(key) {
        Redaction::None => text.map(redact_credentials),
        Redaction::Url => text.map(|url| redact_url(&url)),
        Redaction::Full => Some(REDACTED.to_owned()),
    }
}

/// Returns the error message without the locations that the library adds. The message never contains the value: a
/// type error names only the expected type.
fn message_without_location(error: layers::ConfigError) -> String {
    match error {
        layers::ConfigError::At { error, .. } => message_without_location(*error),
        layers::ConfigError::Type { expected, .. } => format!("expected {expected}"),
        other => {
            let message = other.to_string();
            let expected = message
                .find("expected ")
                .filter(|_| message.starts_with("invalid "));
            expected.map_or_else(|| message.clone(), |at| message[at..].to_owned())
        }
    }
}

/// The renamed keys. The first text of an entry is the pattern of the old key, in which `*` stands for one name. The
/// second text is the last part of the new key, or the whole new key if the section has changed.
const RENAMED_KEYS: [(&str, &str); 8] = [
    ("admin.proxies", "trusted_proxies"),
    ("client_address.proxies", "trusted_proxies"),
    (
        "delegated.services.*.session_cookie_until",
        "session_cookie_delimiter",
    ),
    ("grpc", "tls.grpc"),
    ("jwt.refresh", "refresh_interval"),
    ("jwt.stale", "max_key_age"),
    ("policies.*.beyond_max_sessions", "on_session_limit"),
    ("store.end_journal", "journal_retention"),
];

/// Returns the last part of the new key, or the whole new key, if `key` was renamed.
fn new_key_name(key: &str) -> Option<&'static str> {
    let matches = |pattern: &str| {
        let (mut parts, mut pattern) = (key.split('.'), pattern.split('.'));
        loop {
            match (parts.next(), pattern.next()) {
                (None, None) => return true,
                (Some(part), Some(expected)) if expected == "*" || part == expected => {}
                _ => return false,
            }
        }
    };
    let found = RENAMED_KEYS.iter().find(|(pattern, _)| matches(pattern));
    found.map(|(_, new)| *new)
}

/// Parses serde's message about an unknown field. Returns the unknown field and the known fields.
fn parse_unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut names = message
        .strip_prefix("unknown field `")?
        .split('`')
        .step_by(2);
    let field = names.next()?;
    Some((field, names.filter(|name| !name.is_empty()).collect()))
}
