use std::time::Duration;

use cookie::Cookie;
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::mistakes::{DAY, HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::sections::identity::parse_unreserved_header;
use crate::config::sections::login::parse_max_age;
use crate::config::sections::policy::parse_home_policy;
use crate::config::text::{RawUrl, TextList};
use crate::credential::delegated::{DelegatedService, SessionKey};
use crate::delegate::DelegateSettings;
use crate::policy::{HostPattern, MaxAge, Policies};

/// Another authorization service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawService {
    /// `oauth2-proxy` or `authelia`: supplies values for the keys below that are not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["oauth2-proxy", "authelia", null]))]
    pub preset: Option<String>,
    /// The address of the authorization request.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// A PEM file with the CAs to trust for this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The hosts that this service is responsible for; if omitted, all hosts that no other service
    /// names.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub hosts: TextList<String>,
    /// The service's cookie that identifies a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie: Option<String>,
    /// A delimiter in the cookie value: only the part before the delimiter identifies the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_delimiter: Option<char>,
    /// The `Domain` of the cookie, needed to delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_domain: Option<String>,
    /// The `Path` of the cookie, needed to delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_path: Option<String>,
    /// The response header that identifies a session, instead of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_header: Option<String>,
    /// The claim that identifies a session, instead of a cookie. The claim is in the token of `token_header`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_claim: Option<String>,
    /// The response header with a token of the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
    /// The response header with the time when the subject authenticated, if there is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time_header: Option<String>,
    /// The maximum age of the subject's authentication when a session starts: a duration, `idle` for the idle limit, or
    /// `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// The response header with the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_header: Option<String>,
    /// The response header with the subject's groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_header: Option<String>,
    /// The separator between groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_separator: Option<char>,
    /// The response header with the subject's email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_header: Option<String>,
    /// The response header with the subject's display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_header: Option<String>,
    /// Additional client headers that Curfew forwards to the service.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub forward_headers: TextList<String>,
    /// Response headers that Curfew passes to the backend.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub pass_headers: TextList<String>,
    /// The longest lifetime of the service's sessions after a sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub lifetime: Option<String>,
    /// The home policy of sessions from this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl RawService {
    /// Fills unset keys from the preset.
    pub(super) fn apply_preset(&mut self, name: &str, mistakes: &mut Mistakes) {
        let set_default = |it: &mut Option<String>, text: &str| {
            it.get_or_insert_with(|| text.to_owned());
        };
        let has_session_key = self.session_header.is_some() || self.session_claim.is_some();
        match self.preset.as_deref() {
            None => {}
            // The preset needs an oauth2-proxy with a session store on the server, such as Redis. The cookie is then
            // `ticket|time|signature`, and the ticket does not change when oauth2-proxy refreshes the cookie.
            Some("oauth2-proxy") => {
                if !has_session_key {
                    set_default(&mut self.session_cookie, "_oauth2_proxy");
                    self.session_cookie_delimiter.get_or_insert('|');
                }
                set_default(&mut self.user_header, "x-auth-request-user");
                set_default(&mut self.groups_header, "x-auth-request-groups");
                set_default(&mut self.email_header, "x-auth-request-email");
                set_default(&mut self.lifetime, "7d");
            }
            // In Authelia, `remember_me` is one month by default, so the lifetime is 31 days.
            Some("authelia") => {
                if !has_session_key {
                    set_default(&mut self.session_cookie, "authelia_session");
                }
                set_default(&mut self.user_header, "remote-user");
                set_default(&mut self.groups_header, "remote-groups");
                set_default(&mut self.email_header, "remote-email");
                set_default(&mut self.name_header, "remote-name");
                set_default(&mut self.lifetime, "31d");
            }
            Some(_) => {
                let key = format!("delegated.services.{name}.preset");
                mistakes.add(key, "must be oauth2-proxy or authelia");
            }
        }
    }

    pub(super) fn parse(
        &self,
        name: &str,
        timeout: Valid<Duration>,
        policies: Valid<&Policies>,
        mistakes: &mut Mistakes,
    ) -> Valid<DelegateSettings> {
        let key = |part: &str| format!("delegated.services.{name}.{part}");
        let url = Url::parse(&self.url.0).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let message = "not an absolute address such as http://oauth2-proxy:4180/oauth2/auth";
        let url = mistakes.record_error(&key("url"), url.ok_or(message));
        let authorities = mistakes.read_optional_file(&key("ca_file"), self.ca_file.as_deref());
        let hosts = self.hosts.0.iter().map(|host| HostPattern::parse(host));
        let hosts = mistakes.record_error(&key("hosts"), hosts.collect::<Result<Vec<_>, _>>());
        let session_key = parse_session_key(name, self, mistakes);
        let cleared_cookie = build_cleared_cookie(name, self, mistakes);
        let user = match &self.user_header {
            Some(text) => parse_unreserved_header(&key("user_header"), text, mistakes),
            None => mistakes.reject(
                key("user_header"),
                "is missing: set it to the header of the service's response that contains the subject",
            ),
        };
        let mut optional_header = |part: &str, setting: &Option<String>| {
            let name = setting.as_ref();
            name.map(|text| parse_unreserved_header(&key(part), text, mistakes))
                .transpose()
        };
        let groups = optional_header("groups_header", &self.groups_header);
        let email = optional_header("email_header", &self.email_header);
        let display_name = optional_header("name_header", &self.name_header);
        let auth_time = optional_header("auth_time_header", &self.auth_time_header);
        let token = parse_token_header(name, self, mistakes);
        let max_age = self.parse_max_age(&key("max_age"), mistakes);
        let forward = parse_header_names(&key("forward_headers"), &self.forward_headers, mistakes);
        let pass = parse_header_names(&key("pass_headers"), &self.pass_headers, mistakes);
        let lifetime = match &self.lifetime {
            Some(text) => mistakes.parse_duration(&key("lifetime"), text, HOUR / 60, DAY * 400),
            None => mistakes.reject(
                key("lifetime"),
                "is missing: set it to the longest lifetime of the sessions of this service, such as 7d",
            ),
        };
        let policy = parse_home_policy(&key("policy"), self.policy.as_deref(), policies, mistakes);
        Ok(DelegateSettings {
            service: DelegatedService {
                name: name.to_owned(),
                key: session_key?,
                user: user?,
                groups: groups?,
                groups_separator: self.groups_separator.unwrap_or(','),
                email: email?,
                display_name: display_name?,
                token: token?,
                auth_time: auth_time?,
                max_age: max_age?,
                forwarded_headers: forward?,
                passed_headers: pass?,
                lifetime: lifetime?,
                cleared_cookie: cleared_cookie?,
            },
            url: url?,
            authorities: authorities?,
            timeout: timeout?,
            hosts: hosts?,
            policy: policy?,
        })
    }

    /// Whether the service reports when the subject authenticated.
    pub(in crate::config) const fn reports_auth_time(&self) -> bool {
        self.token_header.is_some() || self.auth_time_header.is_some()
    }

    /// Parses the maximum age of the authentication when a session starts. A maximum is valid only if the service
    /// reports the time of the authentication.
    pub(in crate::config) fn parse_max_age(
        &self,
        key: &str,
        mistakes: &mut Mistakes,
    ) -> Valid<MaxAge> {
        let is_reported = self.reports_auth_time();
        let Some(text) = &self.max_age else {
            return Ok(if is_reported {
                MaxAge::Idle
            } else {
                MaxAge::Any
            });
        };
        let max_age = parse_max_age(key, text, mistakes)?;
        if !is_reported && max_age != MaxAge::Any {
            let message =
                "needs token_header or auth_time_header, for the time of the authentication";
            return mistakes.reject(key, message);
        }
        Ok(max_age)
    }
}

fn parse_session_key(name: &str, raw: &RawService, mistakes: &mut Mistakes) -> Valid<SessionKey> {
    let key = |part: &str| format!("delegated.services.{name}.{part}");
    let session_keys = (&raw.session_cookie, &raw.session_header, &raw.session_claim);
    if raw.session_cookie_delimiter.is_some() && raw.session_cookie.is_none() {
        mistakes.add(key("session_cookie_delimiter"), "needs session_cookie");
    }
    match session_keys {
        (Some(cookie), None, None) => {
            let is_valid = HeaderName::try_from(cookie.as_str()).is_ok();
            let cookie = is_valid
                .then(|| cookie.clone())
                .ok_or("not the name of a cookie");
            Ok(SessionKey::Cookie {
                name: mistakes.record_error(&key("session_cookie"), cookie)?,
                delimiter: raw.session_cookie_delimiter,
            })
        }
        (None, Some(text), None) => {
            parse_unreserved_header(&key("session_header"), text, mistakes).map(SessionKey::Header)
        }
        (None, None, Some(claim)) => {
            if raw.token_header.is_none() {
                mistakes.add(key("session_claim"), "needs token_header");
            }
            Ok(SessionKey::Claim(claim.clone()))
        }
        _ => {
            let message = "set exactly one of session_cookie, session_header and session_claim, because its \
                         value identifies a session";
            mistakes.reject(key("session_cookie"), message)
        }
    }
}

/// Returns the `Set-Cookie` value that deletes the service's cookie; `None` if the service has no session cookie.
fn build_cleared_cookie(
    name: &str,
    raw: &RawService,
    mistakes: &mut Mistakes,
) -> Valid<Option<HeaderValue>> {
    let Some(cookie) = &raw.session_cookie else {
        return Ok(None);
    };
    let path = raw.session_cookie_path.as_deref().unwrap_or("/");
    let mut cleared = Cookie::build((cookie.clone(), ""))
        .path(path.to_owned())
        .http_only(true)
        // Browsers accept cookies with the prefix `__Host-` or `__Secure-` only with `Secure`.
        .secure(cookie.starts_with("__"))
        .max_age(cookie::time::Duration::ZERO)
        .build();
    if let Some(domain) = &raw.session_cookie_domain {
        cleared.set_domain(domain.clone());
    }
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b';')
    };
    let domain = raw.session_cookie_domain.as_deref().unwrap_or("");
    let value = HeaderValue::try_from(cleared.to_string()).ok();
    let value = value.filter(|_| is_plain(path) && is_plain(domain));
    let key = format!("delegated.services.{name}.session_cookie_path");
    let message = "a cookie with this name, path and domain cannot be deleted";
    mistakes.record_error(&key, value.ok_or(message)).map(Some)
}

/// Parses the name of the header with the token. This header may be `Authorization`.
fn parse_token_header(
    name: &str,
    raw: &RawService,
    mistakes: &mut Mistakes,
) -> Valid<Option<HeaderName>> {
    let Some(text) = &raw.token_header else {
        return Ok(None);
    };
    let key = format!("delegated.services.{name}.token_header");
    let name = HeaderName::try_from(text.as_str()).map_err(|_| "not the name of a header");
    mistakes.record_error(&key, name).map(Some)
}

/// Parses header names. Unlike the names of identity headers, they may include `Authorization`.
fn parse_header_names(
    key: &str,
    texts: &TextList<String>,
    mistakes: &mut Mistakes,
) -> Valid<Vec<HeaderName>> {
    let names = texts.0.iter().map(|text| {
        if text.eq_ignore_ascii_case("authorization") {
            return Ok(http::header::AUTHORIZATION);
        }
        parse_unreserved_header(key, text, mistakes)
    });
    let names: Vec<_> = names.collect();
    names.into_iter().collect()
}
