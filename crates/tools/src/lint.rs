//! Finds settings in proxy configuration that bypass the limits of sessions.
//!
//! The linter reads text and returns findings. It sends no requests and changes no files. It detects the format of a
//! file from the text of the file.

mod envoy;
mod kubernetes;
mod nginx;
mod oauth2_proxy;
mod time;
mod traefik;
mod yaml;

use std::time::Duration;

use serde::Serialize;

use crate::yaml::MAX_NESTING_LEVELS;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The setting bypasses session limits.
    Error,
    /// The setting can be intentional. A person should review the setting.
    Notice,
}

/// A setting that bypasses, or may bypass, session limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The line number, from 1.
    pub line: usize,
    /// Error or notice.
    pub severity: Severity,
    /// The rule ID, such as `missing-auth`.
    pub rule: &'static str,
    /// The problem.
    pub message: String,
    /// How to fix the problem.
    pub remedy: String,
}

/// The session limits that a proxy must not bypass.
#[derive(Clone, Copy, Debug)]
pub struct LintLimits {
    /// The idle limit; `None` if it is off.
    pub idle: Option<Duration>,
    /// The absolute limit.
    pub absolute: Duration,
    /// The touch interval. A session can end early by at most this time. A proxy may cache the answer to a check for
    /// at most this time.
    pub touch_interval: Duration,
}

/// Why the linter could not check a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The YAML is invalid or too large.
    #[error(transparent)]
    Yaml(#[from] crate::yaml::YamlError),
    /// The NGINX configuration is invalid.
    #[error("line {0}: unbalanced braces or quotes")]
    Nginx(usize),
    /// The text contains blocks that are nested too deep.
    #[error("line {0}: nested more than {MAX_NESTING_LEVELS} levels deep")]
    Deep(usize),
    /// The format of the file is unknown.
    #[error(
        "unknown format: neither Kubernetes manifests nor a configuration of NGINX, Traefik, Envoy or \
         oauth2-proxy"
    )]
    Unknown,
}

/// Checks the text of a file.
///
/// # Errors
/// [`Unreadable`] if the format is unknown or the text is invalid.
pub fn lint(text: &str, limits: &LintLimits) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Findings {
        limits: *limits,
        protected_hosts: Vec::new(),
        all: Vec::new(),
    };
    if nginx::is_config(text) {
        nginx::check(text, &mut findings)?;
    } else if oauth2_proxy::is_config(text) {
        oauth2_proxy::check(text, &mut findings);
    } else {
        let documents = yaml::parse(text)?;
        findings.protected_hosts = documents
            .iter()
            .flat_map(kubernetes::protected_hosts)
            .collect();
        let known = documents.iter().fold(false, |known, document| {
            let kubernetes = kubernetes::check(document, &mut findings);
            let traefik = traefik::check(document, &mut findings);
            let envoy = envoy::check(document, &mut findings);
            known | kubernetes | traefik | envoy
        });
        let flags = oauth2_proxy::has_flags(text);
        if flags {
            oauth2_proxy::check(text, &mut findings);
        }
        if !known && !flags {
            return Err(Unreadable::Unknown);
        }
    }
    let mut all = findings.all;
    all.sort_by_key(|finding| finding.line);
    all.dedup();
    Ok(all)
}

/// The findings so far.
struct Findings {
    limits: LintLimits,
    /// Hosts with at least one protected Ingress.
    protected_hosts: Vec<String>,
    all: Vec<Finding>,
}

impl Findings {
    fn error(&mut self, line: usize, rule: &'static str, message: String, remedy: &str) {
        self.note(Severity::Error, line, rule, message, remedy);
    }

    fn notice(&mut self, line: usize, rule: &'static str, message: String, remedy: &str) {
        self.note(Severity::Notice, line, rule, message, remedy);
    }

    fn note(
        &mut self,
        severity: Severity,
        line: usize,
        rule: &'static str,
        message: String,
        remedy: &str,
    ) {
        self.all.push(Finding {
            line,
            severity,
            rule,
            message,
            remedy: remedy.to_owned(),
        });
    }

    /// Adds an error: the proxy forwards `what` without a check.
    fn missing_auth(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!("{what} is forwarded without a check");
        self.error(line, "missing-auth", message, remedy);
    }

    /// Adds a notice: the proxy forwards `what` without a check, but checks other requests.
    fn unprotected(&mut self, line: usize, what: &str) {
        let message =
            format!("{what} is forwarded without a check, but other requests are checked");
        let remedy =
            "keep it if it is public; a rule with `access: public` documents this in one place";
        self.notice(line, "public", message, remedy);
    }

    /// Adds an error if streams can stay open for longer than the idle limit. `timeout` is the limit of the proxy for
    /// a stream.
    fn long_stream(&mut self, line: usize, what: &str, timeout: Option<Duration>) {
        let Some(idle) = self.limits.idle else {
            return;
        };
        if timeout.is_some_and(|timeout| timeout <= idle) {
            return;
        }
        let idle = humantime::format_duration(idle);
        let message = format!(
            "{what} lets a WebSocket or an event stream stay open for longer than the idle limit ({idle})"
        );
        let remedy =
            format!("set it to at most {idle}: a stream is checked only once, when it opens");
        self.error(line, "stream-outlives-idle", message, &remedy);
    }

    /// Adds an error if the proxy caches the answers to checks for longer than the touch interval.
    fn cached_answers(&mut self, line: usize, what: &str, kept: Option<Duration>) {
        let touch = self.limits.touch_interval;
        if kept.is_some_and(|kept| kept <= touch) {
            return;
        }
        let touch = humantime::format_duration(touch);
        let message = format!(
            "{what} caches answers of the check: ended sessions are served, and activity is not recorded"
        );
        let remedy =
            format!("remove the cache, or cache answers for at most {touch} (touch_interval)");
        self.error(line, "cached-auth", message, &remedy);
    }

    fn fail_open(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!("{what} serves requests when Curfew does not answer (fail-open)");
        self.error(line, "fail-open", message, remedy);
    }

    fn trusts_client(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!(
            "{what} accepts X-Forwarded-* headers from clients: a client can send another address than it requests"
        );
        self.error(line, "trusted-forward-header", message, remedy);
    }
}

#[cfg(test)]
mod tests;
