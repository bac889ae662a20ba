//! Finds the check of an Ingress in its annotations.

use super::auth_url::{AuthUrl, Service};
use super::family::{Family, HAPROXY_INGRESS, INGRESS_NGINX, TRAEFIK, UNRELATED};
use super::ingress::Ingress;

/// The check of an Ingress.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) service: Service,
    /// The groups of which a person needs one; empty if none is required.
    pub(super) groups: Vec<String>,
}

/// What the annotations of an Ingress say about checks.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// The controllers whose annotations the Ingress has.
    pub(super) families: Vec<&'static Family>,
    /// `None` if the annotations send no check.
    pub(super) check: Option<Check>,
    /// The settings that are not taken over, each with its line.
    pub(super) notes: Vec<(usize, String)>,
}

impl Annotations {
    /// Reads the annotations of an Ingress.
    pub(super) fn of(ingress: &Ingress<'_>) -> Self {
        let mut found = Self::default();
        for &(key, line, value) in &ingress.annotations {
            for family in [&INGRESS_NGINX, &HAPROXY_INGRESS, &TRAEFIK] {
                let mut prefixes = family.prefixes.iter();
                if let Some(name) = prefixes.find_map(|prefix| key.strip_prefix(prefix)) {
                    found.read(family, key, name, line, value);
                }
            }
        }
        found.read_global_auth(ingress);
        found
    }

    /// Whether an annotation concerns checks.
    pub(super) fn is_known(&self) -> bool {
        self.check.is_some() || !self.notes.is_empty()
    }

    fn read(&mut self, family: &'static Family, key: &str, name: &str, line: usize, value: &str) {
        let reason = family.other.iter().find(|(other, _)| *other == name);
        match name {
            "router.middlewares" if family.name == TRAEFIK.name => {
                self.read_middlewares(key, line, value);
                return;
            }
            "enable-global-auth" => return,
            "auth-url" => self.read_auth_url(family, key, line, value),
            "oauth" if family.name == HAPROXY_INGRESS.name => {
                if matches!(value, "oauth2_proxy" | "oauth2-proxy") {
                    self.add_check(family, key, line, Service::Oauth2Proxy, Vec::new());
                } else {
                    self.notes
                        .push((line, format!("{key} is not read: the value is unknown")));
                }
            }
            "satisfy" if value == "any" => {
                let message = format!(
                    "{key} is not taken over: with `any`, requests can pass without the check"
                );
                self.notes.push((line, message));
            }
            "configuration-snippet" | "server-snippet" if value.contains("auth_request") => {
                let message = format!(
                    "{key} is not read, and contains auth_request: it can change or remove the check"
                );
                self.notes.push((line, message));
            }
            _ => match reason {
                Some((_, reason)) => self.notes.push((line, format!("{key} {reason}"))),
                None if name.starts_with("auth-") || name.starts_with("oauth") => {
                    if UNRELATED
                        .iter()
                        .any(|unrelated| name.starts_with(unrelated))
                    {
                        return;
                    }
                    self.notes.push((
                        line,
                        format!("{key} is not read: the annotation is unknown"),
                    ));
                }
                None => return,
            },
        }
        self.add_family(family);
    }

    fn read_auth_url(&mut self, family: &'static Family, key: &str, line: usize, value: &str) {
        if value.trim().is_empty() {
            self.notes
                .push((line, format!("{key} is empty: the Ingress sends no check")));
            return;
        }
        let url = AuthUrl::parse(value);
        self.notes
            .extend(url.notes.into_iter().map(|note| (line, note)));
        self.add_check(family, key, line, url.service, url.groups);
    }

    fn add_check(
        &mut self,
        family: &'static Family,
        key: &str,
        line: usize,
        service: Service,
        groups: Vec<String>,
    ) {
        if self.check.is_some() {
            let message = format!(
                "{key} ({}) is not taken over: the Ingress has another check, and a policy has only one list of groups",
                family.name
            );
            self.notes.push((line, message));
            return;
        }
        self.check = Some(Check { service, groups });
    }

    /// The service behind a Middleware is in another object.
    fn read_middlewares(&mut self, key: &str, line: usize, value: &str) {
        let value = value.to_ascii_lowercase();
        if !value.contains("auth") {
            return;
        }
        self.add_family(&TRAEFIK);
        let message = format!(
            "{key} names a Middleware, which this command does not read: its address, its groups and its limits are unknown"
        );
        self.notes.push((line, message));
        if self.check.is_none() {
            self.check = Some(Check {
                service: Service::Unknown,
                groups: Vec::new(),
            });
        }
    }

    /// Reads `enable-global-auth`, whose meaning depends on the presence of `auth-url`.
    fn read_global_auth(&mut self, ingress: &Ingress<'_>) {
        let key = format!("{}enable-global-auth", INGRESS_NGINX.prefixes[0]);
        let mut annotations = ingress.annotations.iter();
        let Some((_, line, value)) = annotations.find(|(name, ..)| *name == key) else {
            return;
        };
        self.add_family(&INGRESS_NGINX);
        let message = match (&self.check, *value) {
            (Some(_), _) => "has no effect beside another check: remove it",
            (None, "false") => {
                "= false: requests pass without a check, so there is no policy. If they are public, document this with a \
                 rule with `access: public`"
            }
            (None, _) => {
                self.check = Some(Check {
                    service: Service::Unknown,
                    groups: Vec::new(),
                });
                "is not read: the address of the check is in the controller's ConfigMap (global-auth-url)"
            }
        };
        self.notes.push((*line, format!("{key} {message}")));
    }

    fn add_family(&mut self, family: &'static Family) {
        if !self.families.iter().any(|known| known.name == family.name) {
            self.families.push(family);
        }
    }
}
