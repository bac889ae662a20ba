//! Parses text values into types. It collects every mistake with its key, and does not stop at the
//! first.

mod access;
mod admin_tokens;
mod delegated;
mod edge;
mod events;
mod hosts;
mod identity;
mod jwt;
mod login;
mod policies;
mod rules;
mod sign_ins;
mod store;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::raw::RawConfig;
use super::{Config, LogConfig, LogFormat};
use crate::delegate::DelegateSettings;
use crate::identity::IdentityHeaders;
use crate::policy::{Policies, Rulebook, SignInSource};
use crate::session::{MIN_TOMBSTONE_TTL, PolicyName};

/// A validation error: key path and hint.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) key: String,
    pub(super) message: String,
}

/// The validation errors found so far.
#[derive(Debug, Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn note(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Mistake {
            key: key.into(),
            message: message.into(),
        });
    }

    /// The parsed value; on an error, adds a mistake at `key`.
    fn take<T, E: ToString>(&mut self, key: &str, parsed: Result<T, E>) -> Option<T> {
        parsed
            .map_err(|error| self.note(key, error.to_string()))
            .ok()
    }

    /// Parses a duration between `least` and `most`.
    fn duration(
        &mut self,
        key: &str,
        text: &str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let Ok(duration) = humantime::parse_duration(text) else {
            self.note(
                key,
                r#"not a duration; write one like "15m", "12h" or "1h 30m""#,
            );
            return None;
        };
        if duration < least || duration > most {
            let (least, most) = (
                humantime::format_duration(least),
                humantime::format_duration(most),
            );
            self.note(key, format!("must be between {least} and {most}"));
            return None;
        }
        Some(duration)
    }

    /// Reads a file; on an error, adds a mistake at `key`.
    fn read(&mut self, key: &str, path: &str) -> Option<Vec<u8>> {
        self.take(
            key,
            std::fs::read(path).map_err(|error| format!("can't be read: {error}")),
        )
    }

    /// Reads a UTF-8 file; on an error, adds a mistake at `key`.
    fn read_text(&mut self, key: &str, path: &str) -> Option<String> {
        let bytes = self.read(key, path)?;
        self.take(
            key,
            String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text"),
        )
    }
}

/// Parses the configuration. Writes defaults into `raw`, so that it shows every effective value.
///
/// # Errors
/// Every mistake that was found.
pub(super) fn validate(raw: &mut RawConfig) -> Result<Config, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let config = parse(raw, &mut mistakes);
    match config {
        Some(config) if mistakes.0.is_empty() => Ok(config),
        _ => Err(mistakes.0),
    }
}

/// Parses only the policies, rules and hosts.
///
/// # Errors
/// Every mistake in these parts.
pub(super) fn book(raw: &mut RawConfig) -> Result<Rulebook, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let book = parse_book(raw, &mut mistakes);
    match book {
        Some(book) if mistakes.0.is_empty() => Ok(book),
        _ => Err(mistakes.0),
    }
}

/// Parses the policies, rules, hosts and ways to sign in.
///
/// # Errors
/// Every mistake in these parts.
pub(super) fn book_and_sign_ins(
    raw: &mut RawConfig,
) -> Result<(Rulebook, Vec<SignInSource>), Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let book = parse_book(raw, &mut mistakes);
    let sources = sign_ins::parse(raw, &mut mistakes);
    match (book, sources) {
        (Some(book), Some(sources)) if mistakes.0.is_empty() => Ok((book, sources)),
        _ => Err(mistakes.0),
    }
}

fn parse_book(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Option<Rulebook> {
    let policies = policies::parse(raw, mistakes);
    let rules = rules::parse(raw, policies.as_ref(), mistakes);
    let background = rules::background(&raw.activity, mistakes);
    let hosts = rules
        .as_ref()
        .map(|rules| hosts::parse(raw, rules, mistakes));
    Some(Rulebook {
        hosts: hosts??,
        policies: Arc::new(policies?),
        rules: rules?,
        background: background?,
    })
}

fn parse(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Option<Config> {
    let listen = edge::listen(&raw.listen, mistakes);
    let grpc_tls = edge::grpc_tls(&raw.grpc, mistakes);
    login::set_sign_in_page(raw, mistakes);
    let sign_in = edge::sign_in(&raw.sign_in, mistakes);
    let store = store::parse(raw, mistakes);
    let embedded = store::is_embedded(&raw.store);
    let webhook = events::webhook(&raw.events, mistakes);
    let check_timeout = mistakes.duration(
        "store.check_timeout",
        &raw.store.check_timeout,
        Duration::from_millis(1),
        HOUR / 60,
    );
    let end_journal = mistakes.duration(
        "store.end_journal",
        &raw.store.end_journal,
        Duration::from_secs(1),
        DAY,
    );
    let key_ring = access::key_ring(&raw.token, embedded, mistakes);
    let cookie = access::cookie(&raw.cookie, mistakes);
    let admin = access::admin(
        &raw.admin,
        !raw.login.providers.is_empty(),
        embedded,
        mistakes,
    );
    let book = parse_book(raw, mistakes);
    let policies = book.as_ref().map(|book| &*book.policies);
    let freshness = jwt::freshness(&raw.jwt, mistakes);
    let jwt = jwt::parse(&raw.jwt, freshness, policies, mistakes);
    let login =
        freshness.and_then(|freshness| login::parse(&raw.login, freshness, policies, mistakes));
    if let (Some(Some(login)), Some(Some(sign_in)), Some(cookie)) = (&login, &sign_in, &cookie) {
        login::check_cookie_reach(login, sign_in, cookie, mistakes);
    }
    let delegates = delegated::parse(&mut raw.delegated, policies, mistakes);
    let identity = identity::headers(&raw.identity, mistakes);
    let clear_site_data = edge::clear_site_data(&raw.browser, mistakes);
    let assertion = identity::assertion(&raw.assertion, mistakes);
    let address = rules::client_address(&raw.client_address, mistakes);
    let end_retention = mistakes.duration(
        "end_retention",
        &raw.end_retention,
        MIN_TOMBSTONE_TTL,
        DAY * 30,
    );
    let mut stopping = |key, text| mistakes.duration(key, text, Duration::ZERO, HOUR);
    let shutdown_delay = stopping("shutdown_delay", &raw.shutdown_delay);
    let shutdown_timeout = stopping("shutdown_timeout", &raw.shutdown_timeout);
    let log = log(raw, mistakes);
    let traces = edge::traces(&raw.traces, mistakes);
    let cookie = cookie?;
    Some(Config {
        listen: listen?,
        grpc_tls: grpc_tls?,
        literal_headers: raw.ext_authz.literal_headers,
        sign_in: sign_in?,
        login: login?,
        store: store?,
        check_timeout: check_timeout?,
        end_journal: end_journal?,
        webhook: webhook?,
        bearer: raw.token.bearer,
        front_channel_logout: raw.jwt.front_channel_logout,
        jwt: jwt?,
        key_ring: key_ring?,
        identity: IdentityHeaders {
            relayed: passed_headers(delegates.as_deref().unwrap_or_default()),
            ..identity?
        },
        delegates: delegates?,
        assertion: assertion?.map(Arc::new),
        clear_site_data: clear_site_data?,
        cookie,
        book: book?,
        address: address?,
        end_retention: end_retention?,
        admin: admin?,
        log: log?,
        traces: traces?,
        shutdown_delay: shutdown_delay?,
        shutdown_timeout: shutdown_timeout?,
    })
}

/// The headers that delegated services may pass to the backend, sorted and without duplicates.
fn passed_headers(delegates: &[DelegateSettings]) -> Vec<HeaderName> {
    let all = delegates.iter().flat_map(|it| it.delegated.pass.iter());
    let mut all: Vec<HeaderName> = all.cloned().collect();
    all.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    all.dedup();
    all
}

/// The home policy of sessions from an issuer, a provider or a service; `Some(None)` for the
/// default policy.
fn policy_name(
    key: &str,
    name: Option<&str>,
    policies: Option<&Policies>,
    mistakes: &mut Mistakes,
) -> Option<Option<PolicyName>> {
    match (name, policies) {
        (None, _) => Some(None),
        (Some(name), Some(policies)) => {
            let known = policies.get(name).map(|(name, _)| Some(name.clone()));
            mistakes.take(key, known.ok_or("is not one of the policies"))
        }
        (Some(_), None) => None,
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn log(raw: &RawConfig, mistakes: &mut Mistakes) -> Option<LogConfig> {
    let format = match raw.log.format.as_str() {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be `human` or `json`"),
    };
    // A single word that is not a level would be a target, and would disable all other logs.
    let is_directive = |part: &str| part.contains('=') || part.parse::<tracing::Level>().is_ok();
    let filter = raw.log.filter.parse::<tracing_subscriber::EnvFilter>().ok();
    let filter = filter
        .filter(|_| raw.log.filter.split(',').all(is_directive))
        .ok_or(
            "not a level (error, warn, info, debug, trace) or directives such as info,curfew=debug",
        );
    let format = mistakes.take("log.format", format);
    mistakes.take("log.filter", filter)?;
    Some(LogConfig {
        format: format?,
        filter: raw.log.filter.clone(),
    })
}
