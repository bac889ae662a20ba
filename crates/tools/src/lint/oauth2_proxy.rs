//! Checks for oauth2-proxy: for its configuration file, and for its flags in any file.

use super::{Findings, time};

/// Returns whether the text is an oauth2-proxy configuration file.
pub(super) fn is_config(text: &str) -> bool {
    settings(text)
        .any(|(_, name, _)| matches!(name, "cookie_expire" | "cookie_secret" | "oidc_issuer_url"))
}

/// Returns whether the text contains flags of oauth2-proxy.
pub(super) fn has_flags(text: &str) -> bool {
    text.contains("--cookie-expire")
        || text.contains("--skip-auth-r")
        || text.contains("--session-store-type")
}

pub(super) fn check(text: &str, findings: &mut Findings) {
    let all: Vec<(usize, String, &str)> = settings(text)
        .map(|(line, name, value)| (line, name.replace('_', "-"), value))
        .chain(flags(text))
        .collect();
    check_prompt(&all, findings);
    for (line, name, value) in &all {
        match &**name {
            "cookie-expire" => {
                let absolute = findings.limits.absolute;
                let expire = time::parse(value);
                if expire.is_none_or(|expire| expire > absolute || expire.is_zero()) {
                    let absolute = humantime::format_duration(absolute);
                    let message = format!(
                        "cookie-expire is longer than the absolute limit ({absolute}): oauth2-proxy keeps a session that \
                         Curfew has ended"
                    );
                    let remedy = format!("set cookie-expire to at most {absolute}");
                    findings.error(*line, "cookie-outlives-session", message, &remedy);
                }
            }
            "session-store-type" if *value == "cookie" => {
                let message =
                    "each refresh changes the whole cookie, so it cannot identify a session";
                let remedy = "set session-store-type to redis, see docs/logins/oauth2-proxy.md";
                findings.error(*line, "nameless-session", message.to_owned(), remedy);
            }
            "skip-auth-route" | "skip-auth-regex" | "skip-auth-routes" => {
                findings.unprotected(*line, &format!("{name} {value}"));
            }
            _ => {}
        }
    }
}

/// Checks that each sign-in asks the provider to authenticate the person. With the alpha configuration of
/// oauth2-proxy, this setting is in another file.
fn check_prompt(all: &[(usize, String, &str)], findings: &mut Findings) {
    let given = |wanted: &str| all.iter().find(|(_, name, _)| name == wanted);
    let prompt = given("prompt");
    let asks = prompt.is_some_and(|(_, _, value)| value.split(' ').any(|word| word == "login"));
    if asks || given("alpha-config").is_some() {
        return;
    }
    let line = prompt.or(all.first()).map_or(1, |(line, ..)| *line);
    let message = "the identity provider is not asked to authenticate people again: after a timeout, its own session lets \
                   them back in";
    let remedy = "set prompt = \"login\" and set_authorization_header, and token_header: authorization in Curfew";
    findings.error(line, "silent-sign-in", message.to_owned(), remedy);
}

/// Returns the lines `name = value` of a configuration file, with line numbers.
fn settings(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let fits = !name.is_empty() && name.bytes().all(plain);
        fits.then(|| (number + 1, name, value.trim().trim_matches('"')))
    })
}

/// Returns the flags `--name=value` and `--name value`, with line numbers.
fn flags(text: &str) -> impl Iterator<Item = (usize, String, &str)> {
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
