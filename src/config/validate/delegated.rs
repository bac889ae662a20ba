//! Delegated authorization services.

use std::collections::BTreeMap;
use std::time::Duration;

use cookie::Cookie;
use http::{HeaderName, HeaderValue};
use url::Url;

use super::identity::header;
use crate::config::mistakes::{DAY, HOUR, Mistakes, Valid};
use crate::config::sections::{RawDelegated, RawService};
use crate::config::text::TextList;
use crate::credential::delegated::{Delegated, SessionKey};
use crate::delegate::DelegateSettings;
use crate::policy::{HostPattern, MaxAge, Policies};

/// Parses the services. Writes the values of presets into `raw`.
pub(super) fn parse(
    raw: &mut RawDelegated,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<Vec<DelegateSettings>> {
    let least = Duration::from_millis(10);
    let timeout = mistakes.duration("delegated.timeout", &raw.timeout, least, HOUR / 60);
    let mut services = Vec::new();
    let mut for_all: Option<&str> = None;
    let mut hosts_of: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in &mut raw.services {
        let service: &RawService = {
            fill(name, service, mistakes);
            service
        };
        let key = |part: &str| format!("delegated.services.{name}.{part}");
        if service.hosts.is_empty() {
            match for_all {
                Some(other) => mistakes.note(
                    key("hosts"),
                    format!("is missing here and in delegated.services.{other}: at most one service may omit it"),
                ),
                None => for_all = Some(name),
            }
        }
        for host in &service.hosts.0 {
            if let Some(other) = hosts_of.insert(host, name) {
                let message = format!("{host} is also in delegated.services.{other}.hosts");
                mistakes.note(key("hosts"), message);
            }
        }
        services.push(parse_service(name, service, timeout, policies, mistakes));
    }
    services.into_iter().collect()
}

/// Fills unset keys from the preset.
fn fill(name: &str, service: &mut RawService, mistakes: &mut Mistakes) {
    let text = |it: &mut Option<String>, text: &str| {
        it.get_or_insert_with(|| text.to_owned());
    };
    let key_given = service.session_header.is_some() || service.session_claim.is_some();
    match service.preset.as_deref() {
        None => {}
        // Needs a session store on the server, such as Redis. Of its cookie `ticket|time|signature`, a
        // refresh keeps the ticket.
        Some("oauth2-proxy") => {
            if !key_given {
                text(&mut service.session_cookie, "_oauth2_proxy");
                service.session_cookie_delimiter.get_or_insert('|');
            }
            text(&mut service.user_header, "x-auth-request-user");
            text(&mut service.groups_header, "x-auth-request-groups");
            text(&mut service.email_header, "x-auth-request-email");
            text(&mut service.lifetime, "7d");
        }
        // The default of Authelia's `remember_me` is one month.
        Some("authelia") => {
            if !key_given {
                text(&mut service.session_cookie, "authelia_session");
            }
            text(&mut service.user_header, "remote-user");
            text(&mut service.groups_header, "remote-groups");
            text(&mut service.email_header, "remote-email");
            text(&mut service.name_header, "remote-name");
            text(&mut service.lifetime, "31d");
        }
        Some(_) => {
            let key = format!("delegated.services.{name}.preset");
            mistakes.note(key, "must be oauth2-proxy or authelia");
        }
    }
}

fn parse_service(
    name: &str,
    raw: &RawService,
    timeout: Valid<Duration>,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<DelegateSettings> {
    let key = |part: &str| format!("delegated.services.{name}.{part}");
    let url = Url::parse(&raw.url.0).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let wrong = "not an absolute address such as http://oauth2-proxy:4180/oauth2/auth";
    let url = mistakes.take(&key("url"), url.ok_or(wrong));
    let authorities = mistakes.read_optional(&key("ca_file"), raw.ca_file.as_ref());
    let hosts = raw.hosts.0.iter().map(|host| HostPattern::parse(host));
    let hosts = mistakes.take(&key("hosts"), hosts.collect::<Result<Vec<_>, _>>());
    let session = session_key(name, raw, mistakes);
    let cleared = cleared_cookie(name, raw, mistakes);
    let user = match &raw.user_header {
        Some(text) => header(&key("user_header"), text, mistakes),
        None => mistakes.reject(
            key("user_header"),
            "is missing: the response header with the subject",
        ),
    };
    let mut one = |part: &str, given: &Option<String>| {
        let name = given.as_ref();
        name.map(|text| header(&key(part), text, mistakes))
            .transpose()
    };
    let groups = one("groups_header", &raw.groups_header);
    let email = one("email_header", &raw.email_header);
    let display_name = one("name_header", &raw.name_header);
    let auth_time = one("auth_time_header", &raw.auth_time_header);
    let token = token_header(name, raw, mistakes);
    let max_age = max_age(&key("max_age"), raw, mistakes);
    let forward = plain_headers(&key("forward_headers"), &raw.forward_headers, mistakes);
    let pass = plain_headers(&key("pass_headers"), &raw.pass_headers, mistakes);
    let lifetime = match &raw.lifetime {
        Some(text) => mistakes.duration(&key("lifetime"), text, HOUR / 60, DAY * 400),
        None => mistakes.reject(
            key("lifetime"),
            "is missing: the longest lifetime of its sessions, such as 7d",
        ),
    };
    let policy = super::policy_name(&key("policy"), raw.policy.as_deref(), policies, mistakes);
    Ok(DelegateSettings {
        delegated: Delegated {
            name: name.to_owned(),
            key: session?,
            user: user?,
            groups: groups?,
            groups_separator: raw.groups_separator.unwrap_or(','),
            email: email?,
            display_name: display_name?,
            token: token?,
            auth_time: auth_time?,
            max_age: max_age?,
            forward: forward?,
            pass: pass?,
            lifetime: lifetime?,
            cleared_cookie: cleared?,
        },
        url: url?,
        authorities: authorities?,
        timeout: timeout?,
        hosts: hosts?,
        policy: policy?,
    })
}

fn session_key(name: &str, raw: &RawService, mistakes: &mut Mistakes) -> Valid<SessionKey> {
    let key = |part: &str| format!("delegated.services.{name}.{part}");
    let ways = (&raw.session_cookie, &raw.session_header, &raw.session_claim);
    if raw.session_cookie_delimiter.is_some() && raw.session_cookie.is_none() {
        mistakes.note(key("session_cookie_delimiter"), "needs session_cookie");
    }
    match ways {
        (Some(cookie), None, None) => {
            let fits = HeaderName::try_from(cookie.as_str()).is_ok();
            let cookie = fits
                .then(|| cookie.clone())
                .ok_or("not the name of a cookie");
            Ok(SessionKey::Cookie {
                name: mistakes.take(&key("session_cookie"), cookie)?,
                until: raw.session_cookie_delimiter,
            })
        }
        (None, Some(text), None) => {
            header(&key("session_header"), text, mistakes).map(SessionKey::Header)
        }
        (None, None, Some(claim)) => {
            if raw.token_header.is_none() {
                mistakes.note(key("session_claim"), "needs token_header");
            }
            Ok(SessionKey::Claim(claim.clone()))
        }
        _ => {
            let wrong = "set exactly one of session_cookie, session_header and session_claim: it \
                         identifies a session";
            mistakes.reject(key("session_cookie"), wrong)
        }
    }
}

/// The `Set-Cookie` value that deletes the service's cookie; `None` if it has no session cookie.
fn cleared_cookie(
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
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b';')
    };
    let domain = raw.session_cookie_domain.as_deref().unwrap_or("");
    let value = HeaderValue::try_from(cleared.to_string()).ok();
    let value = value.filter(|_| plain(path) && plain(domain));
    let key = format!("delegated.services.{name}.session_cookie_path");
    let wrong = "a cookie with this name, path and domain cannot be deleted";
    mistakes.take(&key, value.ok_or(wrong)).map(Some)
}

/// Whether the service reports when the subject authenticated.
pub(super) const fn reports_auth_time(raw: &RawService) -> bool {
    raw.token_header.is_some() || raw.auth_time_header.is_some()
}

/// The maximum age of the authentication when a session starts. It needs the time of the authentication in the
/// service's responses.
pub(super) fn max_age(key: &str, raw: &RawService, mistakes: &mut Mistakes) -> Valid<MaxAge> {
    let known = reports_auth_time(raw);
    let Some(text) = &raw.max_age else {
        return Ok(if known { MaxAge::Idle } else { MaxAge::Any });
    };
    let max_age = super::login::max_age(key, text, mistakes)?;
    if !known && max_age != MaxAge::Any {
        let wrong = "needs token_header or auth_time_header, for the time of the authentication";
        return mistakes.reject(key, wrong);
    }
    Ok(max_age)
}

/// The header with the token, which may be `Authorization`.
fn token_header(
    name: &str,
    raw: &RawService,
    mistakes: &mut Mistakes,
) -> Valid<Option<HeaderName>> {
    let Some(text) = &raw.token_header else {
        return Ok(None);
    };
    let key = format!("delegated.services.{name}.token_header");
    let name = HeaderName::try_from(text.as_str()).map_err(|_| "not the name of a header");
    mistakes.take(&key, name).map(Some)
}

/// Header names; unlike identity headers, they may include `Authorization`.
fn plain_headers(
    key: &str,
    texts: &TextList<String>,
    mistakes: &mut Mistakes,
) -> Valid<Vec<HeaderName>> {
    let names = texts.0.iter().map(|text| {
        if text.eq_ignore_ascii_case("authorization") {
            return Ok(http::header::AUTHORIZATION);
        }
        header(key, text, mistakes)
    });
    let names: Vec<_> = names.collect();
    names.into_iter().collect()
}
