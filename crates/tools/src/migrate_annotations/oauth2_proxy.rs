//! The lifetime of the cookie in the configuration file of oauth2-proxy.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config_error::ConfigError;
use super::duration;

/// The lifetime of the cookie without `cookie_expire`.
const DEFAULT_EXPIRE: Duration = Duration::from_secs(168 * 3600);
/// Settings that restrict or open access, and have no counterpart in a SessionPolicy.
const ACCESS_SETTINGS: [&str; 14] = [
    "allowed_groups",
    "allowed_roles",
    "authenticated_emails_file",
    "bitbucket_team",
    "email_domains",
    "github_org",
    "github_team",
    "gitlab_groups",
    "google_groups",
    "htpasswd_file",
    "keycloak_groups",
    "skip_auth_regex",
    "skip_auth_routes",
    "trusted_ips",
];

/// The lifetime of the cookie in the configuration file of oauth2-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oauth2ProxyConfig {
    /// `None` if the cookie lasts until the browser closes.
    pub(super) cookie_expire: Option<Duration>,
    /// The settings that are not taken over, and the defaults that apply.
    pub(super) notes: Vec<String>,
}

impl Oauth2ProxyConfig {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] with the line if the text is not TOML, or if `cookie_expire` is unreadable.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|it| *it == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            // The whole error would quote the line of the file, which can contain a secret.
            let offset = error.span().map_or(0, |span| span.start);
            ConfigError::new(line(offset), "invalid TOML")
        })?;
        let table = table.into_inner();
        let mut notes = Vec::new();
        let cookie_expire = match table.get("cookie_expire") {
            None => {
                let default = "cookie_expire is not set: oauth2-proxy's default is 168h";
                notes.push(default.to_owned());
                DEFAULT_EXPIRE
            }
            Some(value) => lifetime(value).ok_or_else(|| {
                let message = "cookie_expire: not a duration, such as \"168h0m0s\"";
                ConfigError::new(line(value.span().start), message)
            })?,
        };
        if cookie_expire.is_zero() {
            let message =
                "cookie_expire = 0 is not taken over: such a cookie ends with the browser";
            notes.push(message.to_owned());
        }
        let refresh = table.get("cookie_refresh");
        if refresh.is_some_and(|value| lifetime(value).is_none_or(|it| !it.is_zero())) {
            let message = "cookie_refresh is not an idle limit, and is not taken over. Each refresh renews the cookie, so \
                           a session of oauth2-proxy can last longer than cookie_expire; a session of Curfew cannot";
            notes.push(message.to_owned());
        }
        for name in ACCESS_SETTINGS {
            if table
                .get(name)
                .is_some_and(|value| !allows_everybody(value))
            {
                notes.push(format!(
                    "{name} is not taken over: a SessionPolicy has no such field, or it holds for every Ingress of \
                     oauth2-proxy"
                ));
            }
        }
        Ok(Self {
            cookie_expire: Some(cookie_expire).filter(|it| !it.is_zero()),
            notes,
        })
    }
}

/// Reads a duration of the configuration: a text, or the number 0. Any other number means nanoseconds.
fn lifetime(value: &Spanned<DeValue<'_>>) -> Option<Duration> {
    match value.get_ref() {
        DeValue::String(text) => duration::parse_go(text),
        DeValue::Integer(number) if number.as_str() == "0" => Some(Duration::ZERO),
        _ => None,
    }
}

/// Whether a setting restricts nothing: an empty list or text, or `*`.
fn allows_everybody(value: &Spanned<DeValue<'_>>) -> bool {
    match value.get_ref() {
        DeValue::String(text) => matches!(&**text, "" | "*"),
        DeValue::Array(items) => {
            items
                .iter()
                .any(|item| item.get_ref().as_str() == Some("*"))
                || items.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lifetime_of_the_cookie() {
        for (config, hours, notes) in [
            ("", Some(168), 1),
            (
                "cookie_expire = \"12h0m0s\"\nprovider = \"oidc\"\n",
                Some(12),
                0,
            ),
            (
                "cookie_expire = \"12h\"\nemail_domains = [ \"*\" ]\n",
                Some(12),
                0,
            ),
            ("cookie_expire = \"0\"\n", None, 1),
            ("cookie_expire = 0\ncookie_refresh = \"1h\"\n", None, 2),
            (
                "cookie_expire = \"8h\"\ncookie_refresh = \"0s\"\n",
                Some(8),
                0,
            ),
            (
                "cookie_expire = \"8h\"\nemail_domains = [\n\"a.com\",\n]\n",
                Some(8),
                1,
            ),
            (
                "cookie_expire = \"8h\"\nallowed_groups = [\"a\"]\n",
                Some(8),
                1,
            ),
        ] {
            let parsed = Oauth2ProxyConfig::parse(config).unwrap();
            let expire = parsed.cookie_expire.map(|it| it.as_secs() / 3600);
            assert_eq!(expire, hours, "{config}");
            assert_eq!(parsed.notes.len(), notes, "{config}: {:?}", parsed.notes);
        }
    }

    #[test]
    fn an_unreadable_file_is_an_error_with_its_line_and_without_secrets() {
        for (config, line) in [
            ("# a\ncookie_expire = \"7d\"\n", 2),
            ("cookie_expire = 3600\n", 1),
            (
                "a = 1\ncookie_secret = \"hunter2\ncookie_expire = \"1h\"\n",
                2,
            ),
            ("cookie_expire: 1h\n", 1),
        ] {
            let error = Oauth2ProxyConfig::parse(config).unwrap_err();
            assert_eq!(error.line, line, "{config}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
