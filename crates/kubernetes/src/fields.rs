//! The fields with which an application team tightens the limits of its routes.

use std::time::Duration;

use crate::policy::{ActivityKind, PassivePaths, StreamActivity};
use crate::session::PolicyName;

/// The valid fields of one object. A field that is not set changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) max_auth_age: Option<Duration>,
    pub(crate) activity: Option<ActivityKind>,
    pub(crate) passive_paths: Vec<String>,
    pub(crate) require_groups: Vec<String>,
    pub(crate) stream_activity: Option<StreamActivity>,
    /// A policy of Curfew's configuration.
    pub(crate) policy: Option<PolicyName>,
}

/// Parses fields. Collects the mistakes, each with the name of the field, so that one mistake does not hide another.
/// An unreadable field is left out: then the ceilings and the configuration apply alone, which is never looser.
#[derive(Debug, Default)]
pub(crate) struct FieldParser {
    pub(crate) mistakes: Vec<String>,
}

impl FieldParser {
    pub(crate) fn duration(&mut self, name: &str, text: Option<&str>) -> Option<Duration> {
        self.parse(name, text, |text| {
            crate::parse_duration(text).map_err(|error| error.to_string())
        })
    }

    pub(crate) fn activity(&mut self, name: &str, text: Option<&str>) -> Option<ActivityKind> {
        let kinds = [
            ActivityKind::Any,
            ActivityKind::Navigation,
            ActivityKind::Explicit,
        ];
        self.parse(name, text, |text| {
            let found = kinds.into_iter().find(|kind| kind.as_str() == text);
            found.ok_or_else(|| "must be any, navigation or explicit".to_owned())
        })
    }

    pub(crate) fn stream_activity(
        &mut self,
        name: &str,
        text: Option<&str>,
    ) -> Option<StreamActivity> {
        self.parse(name, text, |text| {
            // The spelling of Kubernetes, and the spelling of the configuration.
            let found = match text {
                "clientData" => Some(StreamActivity::ClientData),
                _ => StreamActivity::from_name(text),
            };
            found.ok_or_else(|| "must be off or clientData".to_owned())
        })
    }

    pub(crate) fn policy(&mut self, name: &str, text: Option<&str>) -> Option<PolicyName> {
        self.parse(name, text, |text| {
            PolicyName::new(text).map_err(|error| error.to_string())
        })
    }

    /// Returns the globs. In place of an invalid glob, every path is passive, which is never looser.
    pub(crate) fn passive_paths(&mut self, name: &str, texts: &[String]) -> Vec<String> {
        let mut valid = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let text = self.parse(&format!("{name}[{index}]"), Some(text), |text| {
                let compiled = PassivePaths::new([text]);
                compiled.map_err(|(_, error)| error.to_string())?;
                Ok(text.to_owned())
            });
            valid.push(text.unwrap_or_else(|| "/**".to_owned()));
        }
        valid
    }

    fn parse<T>(
        &mut self,
        name: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = text?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistakes.push(format!("{name} = {text:?}: {problem}"));
                None
            }
        }
    }
}
