//! Finds settings in proxy configurations that bypass session limits.
//!
//! The linter reads text and returns findings. It sends no requests and changes no files. It detects the format of a
//! file from the text of the file.

mod duration;
mod envoy;
mod kubernetes;
mod nginx;
mod oauth2_proxy;
mod traefik;

use std::time::Duration;

use serde::Serialize;

use crate::yaml::MAX_NESTING_LEVELS;
use crate::yaml_node;

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
    /// The kind of problem, such as `missing-auth`.
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
    /// The touch interval: the time for which Curfew collects activities before it writes one to the store. A proxy may
    /// cache the answer to a check for at most this time, because Curfew does not see the activity of a cached check.
    pub touch_interval: Duration,
}

/// Why the linter could not check a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// The YAML is invalid or too large.
    #[error(transparent)]
    Yaml(#[from] crate::yaml::YamlError),
    /// The NGINX configuration is invalid. The value is the line, counted from 1.
    #[error("line {0}: unbalanced braces or quotes")]
    Nginx(usize),
    /// The blocks of an NGINX configuration are nested too deep. The value is the line, counted from 1.
    #[error("line {0}: blocks are nested more than {MAX_NESTING_LEVELS} levels deep")]
    TooDeep(usize),
    /// The format of the file is unknown.
    #[error(
        "unknown format: neither Kubernetes manifests nor a configuration of NGINX, Traefik, Envoy or \
         oauth2-proxy"
    )]
    UnknownFormat,
}

/// Checks the text of a file.
///
/// # Errors
/// [`LintError`] if the format is unknown or the text is invalid.
pub fn lint(text: &str, limits: &LintLimits) -> Result<Vec<Finding>, LintError> {
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
        let documents = yaml_node::parse(text)?;
        findings.protected_hosts = documents
            .iter()
            .flat_map(kubernetes::protected_hosts)
            .collect();
        let is_known = documents.iter().fold(false, |is_known, document| {
            let is_kubernetes = kubernetes::check(document, &mut findings);
            let is_traefik = traefik::check(document, &mut findings);
            let is_envoy = envoy::check(document, &mut findings);
            is_known | is_kubernetes | is_traefik | is_envoy
        });
        let has_flags = oauth2_proxy::has_flags(text);
        if has_flags {
            oauth2_proxy::check(text, &mut findings);
        }
        if !is_known && !has_flags {
            return Err(LintError::UnknownFormat);
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
    fn add_error(&mut self, line: usize, rule: &'static str, message: String, remedy: &str) {
        self.add(Severity::Error, line, rule, message, remedy);
    }

    fn add_notice(&mut self, line: usize, rule: &'static str, message: String, remedy: &str) {
        self.add(Severity::Notice, line, rule, message, remedy);
    }

    fn add(
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
    fn report_missing_auth(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!("{what} is forwarded without a check");
        self.add_error(line, "missing-auth", message, remedy);
    }

    /// Adds a notice: the proxy forwards `what` without a check, but checks other requests.
    fn report_unprotected(&mut self, line: usize, what: &str) {
        let message =
            format!("{what} is forwarded without a check, but other requests are checked");
        let remedy = "keep the setting if the requests are public; a rule with `access: public` \
                      documents this in one place";
        self.add_notice(line, "public", message, remedy);
    }

    /// Adds an error if streams can stay open for longer than the idle limit. `timeout` is the limit of the proxy for
    /// a stream; `None` means that there is no limit.
    fn check_stream_timeout(&mut self, line: usize, what: &str, timeout: Option<Duration>) {
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
        let remedy = format!(
            "set the timeout to at most {idle}, because Curfew checks a stream only once, when it opens"
        );
        self.add_error(line, "stream-outlives-idle", message, &remedy);
    }

    /// Adds an error if the proxy caches the answers to checks for longer than the touch interval. `cache_duration` is
    /// `None` if it is unknown.
    fn check_cache_duration(&mut self, line: usize, what: &str, cache_duration: Option<Duration>) {
        let touch = self.limits.touch_interval;
        if cache_duration.is_some_and(|cache_duration| cache_duration <= touch) {
            return;
        }
        let touch = humantime::format_duration(touch);
        let message = format!(
            "{what} caches the answers to checks: requests of ended sessions pass, and Curfew misses activity"
        );
        let remedy =
            format!("remove the cache, or cache answers for at most {touch} (touch_interval)");
        self.add_error(line, "cached-auth", message, &remedy);
    }

    fn report_fail_open(&mut self, line: usize, what: &str, remedy: &str) {
        let message =
            format!("because of {what}, requests pass when Curfew does not answer (fail-open)");
        self.add_error(line, "fail-open", message, remedy);
    }

    fn report_trusted_headers(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!(
            "because of {what}, Traefik accepts X-Forwarded-* headers from clients, so Curfew may check another URL than the \
             client requests"
        );
        self.add_error(line, "trusted-forward-header", message, remedy);
    }
}

#[cfg(test)]
mod tests;
