use std::fmt;

use globset::{Glob, GlobBuilder};
use http::Method;

use super::contract::Contract;
use super::heartbeats::Heartbeats;
use super::host::HostPattern;
use super::path::{AmbiguousPath, NormalPath};
use super::streams::StreamActivity;

use crate::session::PolicyName;

/// A rule: the requests that it matches, and the terms that apply to them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The position in `rules` of the configuration, counted from 0. A rule with `pollers` (background requests of
    /// known applications) expands to several rules that share one index.
    pub index: usize,
    /// The requests that the rule matches.
    pub conditions: Conditions,
    /// The terms that apply to matching requests.
    pub terms: Terms,
}

/// The conditions of a rule. A request must meet every condition. An empty condition matches every request. A
/// condition with several values matches if one of these values matches.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Patterns for the host, without its port.
    pub hosts: Vec<HostPattern>,
    /// Patterns for the path.
    pub paths: Vec<PathPattern>,
    /// The methods, compared case-sensitively.
    pub methods: Vec<Method>,
    /// The contracts (protocols) with which proxies call Curfew.
    pub contracts: Vec<Contract>,
}

impl Conditions {
    /// Whether a request meets the conditions for the method and the contract (the protocol of the proxy).
    pub(super) fn match_method_and_contract(&self, method: &Method, contract: Contract) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.contracts.is_empty() || self.contracts.contains(&contract))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut write_condition = |name: &str, items: Vec<String>| -> fmt::Result {
            if items.is_empty() {
                return Ok(());
            }
            write!(f, "{separator}{name} {}", items.join(", "))?;
            separator = "; ";
            Ok(())
        };
        write_condition("host", to_strings(&self.hosts))?;
        write_condition("path", to_strings(&self.paths))?;
        write_condition("method", to_strings(&self.methods))?;
        write_condition("contract", to_strings(&self.contracts))?;
        if separator.is_empty() {
            f.write_str("everything")?;
        }
        Ok(())
    }
}

fn to_strings<T: fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// The terms for a request: which session the request needs, and whether the request counts as activity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The policy whose limits the session must meet, in addition to the limits of its home policy (fixed at sign-in).
    pub policy: Option<PolicyName>,
    /// Whether the request needs a session.
    pub access: Access,
    /// Whether the request can count as activity.
    pub activity: RuleActivity,
    /// Whether data inside an open stream can count as activity; `None` if the rule does not restrict this. A rule
    /// cannot allow what a policy forbids.
    pub stream_activity: Option<StreamActivity>,
    /// The messages of a WebSocket that never count as activity, in addition to those of the policies.
    pub stream_heartbeats: Heartbeats,
    /// The required groups: the subject must be in at least one of them. An empty list requires no group.
    pub groups: Vec<String>,
    /// Whether a CORS preflight needs a session. Browsers send preflights without cookies.
    pub cors_preflight: Access,
}

/// Whether a request needs a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// A valid session is required.
    #[default]
    Protected,
    /// The request is allowed without a session, and Curfew does not look for one.
    Public,
}

/// Whether requests that match a rule can count as activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleActivity {
    /// The requests count, except requests that are always passive, such as a prefetch.
    #[default]
    Touch,
    /// The requests never count.
    Passive,
}

/// A pattern for paths.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// Exactly this path.
    Exact(String),
    /// This path and everything below it. The string has no trailing slash.
    Prefix(String),
    /// Every path that the glob matches.
    Glob(Glob),
    /// Every path that servers interpret in different ways, so that it has no normal form.
    Ambiguous,
}

/// The reason why a path pattern is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// No request can match the pattern.
    #[error("no request can match this pattern: {0}")]
    Ambiguous(#[from] AmbiguousPath),
    /// The text is not a valid glob.
    #[error("invalid glob: {0}")]
    Glob(String),
}

impl PathPattern {
    /// A pattern for one path. The text may be percent-encoded, as in a URL.
    ///
    /// # Errors
    /// [`PathPatternError::Ambiguous`] if the path has no normal form.
    pub fn exact(text: &str) -> Result<Self, PathPatternError> {
        let normal = NormalPath::new(text.as_bytes())?;
        Ok(Self::Exact(normal.as_str().to_owned()))
    }

    /// A pattern for a path and everything below it, by whole segments: `/a` matches `/a`, `/a/` and `/a/b`, but not
    /// `/ab`. A trailing slash makes no difference.
    ///
    /// # Errors
    /// [`PathPatternError::Ambiguous`] if the path has no normal form.
    pub fn prefix(text: &str) -> Result<Self, PathPatternError> {
        let normal = NormalPath::new(text.as_bytes())?;
        let path = normal.as_str();
        Ok(Self::Prefix(
            path.strip_suffix('/').unwrap_or(path).to_owned(),
        ))
    }

    /// A pattern from a glob over the decoded path: `*` and `?` match within a segment, `**` matches across segments,
    /// and `[ab]` and `{a,b}` are alternatives.
    ///
    /// # Errors
    /// [`PathPatternError`] if the text is not a glob, or if it can only match paths without a normal form.
    pub fn glob(text: &str) -> Result<Self, PathPatternError> {
        if !text.starts_with('/') {
            return Err(AmbiguousPath::NotAbsolute.into());
        }
        for (part, problem) in [
            ("//", AmbiguousPath::DoubleSlash),
            ("/./", AmbiguousPath::DotSegment),
            ("/../", AmbiguousPath::DotSegment),
            ("\\", AmbiguousPath::Backslash),
            (";", AmbiguousPath::Semicolon),
            ("#", AmbiguousPath::Fragment),
        ] {
            if text.contains(part) {
                return Err(problem.into());
            }
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .empty_alternates(true)
            .build();
        glob.map(Self::Glob)
            .map_err(|error| PathPatternError::Glob(error.kind().to_string()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}/…"),
            Self::Glob(glob) => f.write_str(glob.glob()),
            Self::Ambiguous => f.write_str("(ambiguous)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_patterns_that_match_nothing() {
        for text in ["", "a", "/a//b", "/a/../b", "/a%2fb", "/a;b", "/a?b"] {
            assert!(PathPattern::exact(text).is_err(), "{text}");
            assert!(PathPattern::prefix(text).is_err(), "{text}");
        }
        for text in [
            "", "*", "**", "/a//*", "/../*", "/a;*", "/a\\*", "/[a", "/{a",
        ] {
            assert!(PathPattern::glob(text).is_err(), "{text}");
        }
        assert_eq!(
            PathPattern::glob("/[a").unwrap_err().to_string(),
            "invalid glob: unclosed character class; missing ']'"
        );
    }
}
