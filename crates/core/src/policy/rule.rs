use std::fmt;

use globset::{Glob, GlobBuilder};
use http::Method;

use super::contract::Contract;
use super::host::HostPattern;
use super::path::{AmbiguousPath, NormalPath};
use crate::session::PolicyName;

/// One rule: which requests it is for, and what applies to them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place in `rules` of the configuration, counted from 0. A rule that names known pollers
    /// stands for several, which share it.
    pub index: usize,
    /// Which requests it is for.
    pub conditions: Conditions,
    /// What applies to them.
    pub terms: Terms,
}

/// Which requests a rule is for: those that meet every condition. A condition with nothing in it is
/// met by every request, one with several things by any of them.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The host, without its port.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub paths: Vec<PathPattern>,
    /// The method.
    pub methods: Vec<Method>,
    /// How the proxy asks.
    pub contracts: Vec<Contract>,
}

impl Conditions {
    /// Whether a request meets those that are not about its host and path.
    pub(super) fn fit(&self, method: &Method, contract: Contract) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.contracts.is_empty() || self.contracts.contains(&contract))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        let mut part = |name: &str, items: Vec<String>| -> fmt::Result {
            if items.is_empty() {
                return Ok(());
            }
            write!(f, "{before}{name} {}", items.join(", "))?;
            before = "; ";
            Ok(())
        };
        part("host", texts(&self.hosts))?;
        part("path", texts(&self.paths))?;
        part("method", texts(&self.methods))?;
        part("contract", texts(&self.contracts))?;
        if before.is_empty() {
            f.write_str("everything")?;
        }
        Ok(())
    }
}

fn texts<T: fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// What applies to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The policy whose limits the session must be within, besides those of its own.
    pub policy: Option<PolicyName>,
    /// Whether a session is needed.
    pub access: Access,
    /// Whether a request can be activity.
    pub activity: RuleActivity,
    /// Groups of which the session's subject must have one; none where it does not matter.
    pub groups: Vec<String>,
    /// Whether a CORS preflight needs a session, which browsers never send one with.
    pub cors_preflight: Access,
}

/// Whether a request needs a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It does.
    #[default]
    Protected,
    /// It passes without one, and none is looked for.
    Public,
}

/// Whether the requests that a rule is for can be activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleActivity {
    /// They are, unless they are passive by themselves.
    #[default]
    Touch,
    /// They never are.
    Passive,
}

/// The paths that a rule is for.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// This path, without a slash at its end, and everything below it.
    Prefix(String),
    /// What a glob matches.
    Glob(Glob),
    /// A path that has no normal form.
    Ambiguous,
}

/// What is wrong with the pattern of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// No request could match it.
    #[error("no request can match it: {0}")]
    Ambiguous(#[from] AmbiguousPath),
    /// Not a glob.
    #[error("not a glob: {0}")]
    Glob(String),
}

impl PathPattern {
    /// One path, as it is in a URL or decoded.
    ///
    /// # Errors
    /// [`PathPatternError::Ambiguous`] for a path that rules don't match.
    pub fn exact(text: &str) -> Result<Self, PathPatternError> {
        let normal = NormalPath::new(text.as_bytes())?;
        Ok(Self::Exact(normal.as_str().to_owned()))
    }

    /// A path and all below it, by whole segments: `/a` is for `/a`, `/a/` and `/a/b`, not for
    /// `/ab`. A slash at its end changes nothing.
    ///
    /// # Errors
    /// [`PathPatternError::Ambiguous`] for a path that rules don't match.
    pub fn prefix(text: &str) -> Result<Self, PathPatternError> {
        let normal = NormalPath::new(text.as_bytes())?;
        let path = normal.as_str();
        Ok(Self::Prefix(
            path.strip_suffix('/').unwrap_or(path).to_owned(),
        ))
    }

    /// A glob over the decoded path: `*` and `?` stay within a segment, `**` spans segments, `[ab]`
    /// and `{a,b}` choose.
    ///
    /// # Errors
    /// [`PathPatternError`] for what is no glob, or can't match a path that rules match.
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
    fn patterns_that_nothing_matches_are_refused() {
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
            "not a glob: unclosed character class; missing ']'"
        );
    }
}
