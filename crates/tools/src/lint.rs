//! What in a proxy's configuration would defeat the limits of sessions.
//!
//! Text in, findings out: nothing is asked, nothing is changed. What a file is is seen from what is in it.

mod envoy;
mod kubernetes;
mod nginx;
mod oauth2_proxy;
mod time;
mod traefik;
mod yaml;

use std::time::Duration;

use serde::Serialize;

use crate::yaml::DEEPEST;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Sessions would not end as they should.
    Error,
    /// It may be meant; somebody should look.
    Notice,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// What it means.
    pub severity: Severity,
    /// A word for this kind of finding.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The limits that a proxy must not get around.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The idle limit; `None` where there is none.
    pub idle: Option<Duration>,
    /// The absolute limit.
    pub absolute: Duration,
    /// By how much a session may end early, and so the longest that an answer may be kept.
    pub touch_interval: Duration,
}

/// Why a file can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no YAML, or too much of it.
    #[error(transparent)]
    Yaml(#[from] crate::yaml::Unreadable),
    /// It is no configuration of NGINX.
    #[error("line {0}: braces and quotes don't match")]
    Nginx(usize),
    /// It is deeper than any that is meant.
    #[error("line {0}: nested more than {DEEPEST} levels deep")]
    Deep(usize),
    /// Nothing in it is known.
    #[error(
        "nothing in it is known: not Kubernetes manifests, nor a configuration of NGINX, Traefik, Envoy or \
         oauth2-proxy"
    )]
    Unknown,
}

/// Looks at a file.
///
/// # Errors
/// [`Unreadable`].
pub fn lint(text: &str, limits: &Limits) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Findings {
        limits: *limits,
        guarded: Vec::new(),
        all: Vec::new(),
    };
    if nginx::is_one(text) {
        nginx::look(text, &mut findings)?;
    } else if oauth2_proxy::is_one(text) {
        oauth2_proxy::look(text, &mut findings);
    } else {
        let documents = yaml::parse(text)?;
        findings.guarded = documents
            .iter()
            .flat_map(kubernetes::guarded_hosts)
            .collect();
        let known = documents.iter().fold(false, |known, document| {
            let kubernetes = kubernetes::look(document, &mut findings);
            let traefik = traefik::look(document, &mut findings);
            let envoy = envoy::look(document, &mut findings);
            known | kubernetes | traefik | envoy
        });
        let flags = oauth2_proxy::has_flags(text);
        if flags {
            oauth2_proxy::look(text, &mut findings);
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

/// What was found so far.
struct Findings {
    limits: Limits,
    /// Hosts of which something is guarded.
    guarded: Vec<String>,
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

    /// Nothing is asked before requests are forwarded.
    fn missing_auth(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!("{what} is forwarded without asking Curfew");
        self.error(line, "missing-auth", message, remedy);
    }

    /// The same beside others that are guarded.
    fn public(&mut self, line: usize, what: &str) {
        let message = format!("{what} is forwarded without asking Curfew, unlike others");
        let remedy =
            "leave it if everybody may have it; a rule with `access: public` says so in one place";
        self.notice(line, "public", message, remedy);
    }

    /// A stream is cut only after this long.
    fn stream(&mut self, line: usize, what: &str, timeout: Option<Duration>) {
        let Some(idle) = self.limits.idle else {
            return;
        };
        if timeout.is_some_and(|timeout| timeout <= idle) {
            return;
        }
        let idle = humantime::format_duration(idle);
        let message = format!(
            "{what} lets a WebSocket or an event stream stay open for longer than a session may be idle ({idle})"
        );
        let remedy = format!("at most {idle}: a stream is asked for once, when it is opened");
        self.error(line, "stream-outlives-idle", message, &remedy);
    }

    /// Answers are kept for this long.
    fn cached(&mut self, line: usize, what: &str, kept: Option<Duration>) {
        let touch = self.limits.touch_interval;
        if kept.is_some_and(|kept| kept <= touch) {
            return;
        }
        let touch = humantime::format_duration(touch);
        let message = format!(
            "{what} keeps answers: sessions that ended are served, and activity is not seen"
        );
        let remedy =
            format!("leave the cache out, or keep answers for at most {touch} (touch_interval)");
        self.error(line, "cached-auth", message, &remedy);
    }

    fn fail_open(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!("{what} lets requests through when Curfew does not answer");
        self.error(line, "fail-open", message, remedy);
    }

    fn trusts_client(&mut self, line: usize, what: &str, remedy: &str) {
        let message = format!(
            "{what} takes X-Forwarded-* from clients, who can name another address than they ask for"
        );
        self.error(line, "trusted-forward-header", message, remedy);
    }
}

#[cfg(test)]
mod tests;
