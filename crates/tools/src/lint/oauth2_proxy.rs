//! The linter for oauth2-proxy: for its configuration file, and for its flags in any file.

use super::{Findings, duration};

/// Returns whether the text is an oauth2-proxy configuration file.
pub(super) fn is_config(text: &str) -> bool {
    parse_settings(text)
        .any(|(_, name, _)| matches!(name, "cookie_expire" | "cookie_secret" | "oidc_issuer_url"))
}

/// Returns whether the text contains flags of oauth2-proxy.
pub(super) fn has_flags(text: &str) -> bool {
    text.contains("--cookie-expire")
        || text.contains("--skip-auth-r")
        || text.contains("--session-store-type")
}

pub(super) fn check(text: &str, findings: &mut Findings) {
    let settings: Vec<(usize, String, &str)> = parse_settings(text)
        .map(|(line, name, value)| (line, name.replace('_', "-"), value))
        .chain(parse_flags(text))
        .collect();
    check_prompt(&settings, findings);
    for (line, name, value) in &settings {
        match &**name {
            "cookie-expire" => {
                let absolute = findings.limits.absolute;
                let expire = duration::parse(value);
                if expire.is_none_or(|expire| expire > absolute || expire.is_zero()) {
                    let absolute = humantime::format_duration(absolute);
                    let message = format!(
                        "cookie-expire is longer than the absolute limit ({absolute}): oauth2-proxy keeps a session that \
                         Curfew has ended"
                    );
                    let remedy = format!("set cookie-expire to at most {absolute}");
                    findings.add_error(*line, "cookie-outlives-session", message, &remedy);
                }
            }
            "session-store-type" if *value == "cookie" => {
                let message = "each refresh changes the whole cookie, so the cookie cannot identify a session";
                let remedy = "set session-store-type to redis, see docs/logins/oauth2-proxy.md";
                findings.add_error(*line, "nameless-session", message.to_owned(), remedy);
            }
            "skip-auth-route" | "skip-auth-regex" | "skip-auth-routes" => {
                findings.report_unprotected(*line, &format!("{name} {value}"));
            }
            _ => {}
        }
    }
}

/// Checks that each sign-in asks the provider to authenticate the person. With the alpha configuration of oauth2-proxy,
/// this setting is in another file, so the linter cannot check it.
fn check_prompt(settings: &[(usize, String, &str)], findings: &mut Findings) {
    let find_setting = |wanted: &str| settings.iter().find(|(_, name, _)| name == wanted);
    let prompt = find_setting("prompt");
    let asks_for_login =
        prompt.is_some_and(|(_, _, value)| value.split(' ').any(|word| word == "login"));
    if asks_for_login || find_setting("alpha-config").is_some() {
        return;
    }
    let line = prompt.or(settings.first()).map_or(1, |(line, ..)| *line);
    let message = "oauth2-proxy does not ask the identity provider to authenticate people again: after a timeout, the \
                   provider's session signs people in without credentials";
    let remedy = "set prompt = \"login\" and set_authorization_header, and token_header: authorization in Curfew";
    findings.add_error(line, "silent-sign-in", message.to_owned(), remedy);
}

/// Returns the lines `name = value` of a configuration file, with line numbers.
fn parse_settings(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let is_name_byte = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let is_setting = !name.is_empty() && name.bytes().all(is_name_byte);
        is_setting.then(|| (number + 1, name, value.trim().trim_matches('"')))
    })
}

/// Returns the flags `--name=value` and `--name value`, with line numbers.
fn parse_flags(text: &str) -> impl Iterator<Item = (usize, String, &str)> {
    text.lines().enumerate().flat_map(|(number, line)| {
        let parts = line.split("--").skip(1);
        parts.filter_map(move |part| {
            let (name, value) = part.split_once(['=', ' '])?;
            let value = value.split_whitespace().next().unwrap_or_default();
            let value = value.trim_matches(['"', '\'', ',', ']']);
            Some((number + 1, name.to_owned(), value))
        })
    })
}
