//! The limits of an Ingress: those of its sign-in service, and otherwise those of the command line.

use std::time::Duration;

use super::auth_url::Service;
use super::authelia::AutheliaConfig;
use super::duration::{self, MAX_LIMIT};
use super::ingress::Ingress;
use super::oauth2_proxy::Oauth2ProxyConfig;

/// The sources of limits.
#[derive(Clone, Debug, Default)]
pub struct LimitSources {
    /// The idle limit where no other source has one.
    pub idle: Option<Duration>,
    /// The absolute limit where no other source has one.
    pub absolute: Option<Duration>,
    /// The configuration of Authelia, for Ingresses that ask Authelia.
    pub authelia: Option<AutheliaConfig>,
    /// The configuration of oauth2-proxy, for Ingresses that ask oauth2-proxy.
    pub oauth2_proxy: Option<Oauth2ProxyConfig>,
}

/// The limits of an Ingress. A limit that is not known is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IngressLimits {
    pub(super) idle: Option<Duration>,
    pub(super) absolute: Option<Duration>,
    /// The limits that are not known, and the limits that differ from the input.
    pub(super) notes: Vec<String>,
}

impl LimitSources {
    /// Returns the limits of an Ingress with a check of `service`.
    pub(super) fn limits(&self, ingress: &Ingress<'_>, service: Service) -> IngressLimits {
        let mut limits = match service {
            Service::Authelia => self.limits_of_authelia(ingress),
            Service::Oauth2Proxy => self.limits_of_oauth2_proxy(),
            Service::Unknown => IngressLimits::default(),
        };
        limits.idle = limits.idle.or(self.idle);
        limits.absolute = limits.absolute.or(self.absolute);
        limits.report_missing();
        limits.fit();
        limits
    }

    fn limits_of_authelia(&self, ingress: &Ingress<'_>) -> IngressLimits {
        let mut limits = IngressLimits::default();
        let Some(config) = &self.authelia else {
            let message =
                "Authelia has its limits in its configuration file: pass it with --authelia-config";
            limits.notes.push(message.to_owned());
            return limits;
        };
        for host in &ingress.hosts {
            let Some(of_host) = config.limits(host) else {
                limits.notes.push(format!(
                    "Authelia has no session cookie for the host {host}"
                ));
                continue;
            };
            let mut take_shorter = |limit: &mut Option<Duration>, value: Duration| {
                if limit.is_some_and(|limit| limit != value) {
                    let message = format!(
                        "Authelia has different limits for the hosts: the shorter one applies to {host} too"
                    );
                    if !limits.notes.contains(&message) {
                        limits.notes.push(message);
                    }
                }
                *limit = Some(limit.map_or(value, |limit| limit.min(value)));
            };
            take_shorter(&mut limits.idle, of_host.inactivity);
            take_shorter(&mut limits.absolute, of_host.expiration);
        }
        limits
    }

    fn limits_of_oauth2_proxy(&self) -> IngressLimits {
        let mut limits = IngressLimits::default();
        if self.idle.is_none() {
            limits
                .notes
                .push("oauth2-proxy has no idle limit: choose one with --idle".to_owned());
        }
        match &self.oauth2_proxy {
            Some(config) => limits.absolute = config.cookie_expire,
            None => {
                let message = "oauth2-proxy has its absolute limit (cookie_expire) in its configuration file: pass it with \
                               --oauth2-proxy-config";
                limits.notes.push(message.to_owned());
            }
        }
        limits
    }
}

impl IngressLimits {
    fn report_missing(&mut self) {
        for (limit, name) in [(self.idle, "idle"), (self.absolute, "absolute")] {
            if limit.is_none() {
                self.notes.push(format!(
                    "{name} is unknown: the policy sets no such limit. Set it with --{name}"
                ));
            }
        }
    }

    /// Changes the limits to values that a SessionPolicy accepts. No change makes a limit longer.
    fn fit(&mut self) {
        for (limit, name) in [(&mut self.idle, "idle"), (&mut self.absolute, "absolute")] {
            let Some(value) = limit else { continue };
            if *value > MAX_LIMIT {
                *value = MAX_LIMIT;
                self.notes.push(format!(
                    "{name} is shortened to 9600h, the longest limit of a SessionPolicy"
                ));
            }
            *value = Duration::from_millis(u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
            if value.is_zero() {
                *limit = None;
                self.notes.push(format!(
                    "{name} is shorter than a millisecond: the policy sets no such limit"
                ));
            }
        }
        if let (Some(idle), Some(absolute)) = (&mut self.idle, self.absolute)
            && *idle > absolute
        {
            let (from, to) = (duration::format(*idle), duration::format(absolute));
            self.notes.push(format!(
                "idle is shortened from {from} to {to}, because a SessionPolicy needs idle <= absolute. Sessions end at the \
                 same time"
            ));
            *idle = absolute;
        }
    }
}
