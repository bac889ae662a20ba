//! Runs the parsers of all sections and collects all mistakes, each with its key.

mod sign_ins;

use std::sync::Arc;

use http::HeaderName;

use super::Config;
use super::mistakes::{Mistake, Mistakes, Valid, borrow_valid};
use super::sections::{RawConfig, events, hosts, login, policy, rule, shutdown};
use crate::config::SessionSettings;
use crate::delegate::DelegateSettings;
use crate::identity::IdentityHeaders;
use crate::live::Live;
use crate::policy::{Routes, Rulebook};

/// Parses the configuration. Writes defaults into `raw`, so that `raw` has every effective value.
///
/// # Errors
/// Every mistake that was found.
pub(super) fn validate(raw: &mut RawConfig) -> Result<Config, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let config = parse(raw, &mut mistakes);
    mistakes.finish(config)
}

/// Parses only the policies, rules and hosts.
///
/// # Errors
/// Every mistake in these parts.
pub(super) fn validate_book(raw: &mut RawConfig) -> Result<Rulebook, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let rulebook = parse_rulebook(raw, &mut mistakes);
    mistakes.finish(rulebook)
}

/// Parses the policies, rules, hosts and ways to sign in.
///
/// # Errors
/// Every mistake in these parts.
pub(super) fn validate_session_settings(
    raw: &mut RawConfig,
) -> Result<SessionSettings, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let rulebook = parse_rulebook(raw, &mut mistakes);
    let sources = sign_ins::parse(raw, &mut mistakes);
    let upstreams = raw.proxy.upstreams.iter();
    let is_on = !raw.listen.proxy.is_off();
    let hosts = upstreams.filter(|_| is_on).flat_map(|it| it.host.0.clone());
    let forwarded_hosts = hosts.collect();
    mistakes.finish(rulebook.and_then(|rulebook| {
        Ok(SessionSettings {
            rulebook,
            sign_ins: sources?,
            forwarded_hosts,
        })
    }))
}

fn parse_rulebook(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Valid<Rulebook> {
    let policies = policy::parse(raw, mistakes);
    let rules = rule::parse(raw, borrow_valid(&policies), mistakes);
    let background = raw.activity.parse(mistakes);
    let hosts = borrow_valid(&rules).and_then(|rules| hosts::parse(raw, rules, mistakes));
    Ok(Rulebook {
        hosts: hosts?,
        policies: Arc::new(policies?),
        rules: rules?,
        routes: Live::new(Routes::default()),
        background: background?,
    })
}

fn parse(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Valid<Config> {
    let listen = raw.listen.parse(mistakes);
    let tls = raw.tls.parse(mistakes);
    login::set_sign_in_page(&raw.login, &mut raw.sign_in, mistakes);
    let sign_in = raw.sign_in.parse(mistakes);
    let store = raw.store.parse(&raw.events, mistakes);
    let is_embedded = raw.store.is_embedded();
    let webhook = raw.events.parse(mistakes);
    let check_timeout = raw.store.parse_check_timeout(mistakes);
    let journal_retention = raw.store.parse_journal_retention(mistakes);
    let key_ring = raw.token.parse(is_embedded, mistakes);
    let cookie = raw.cookie.parse(mistakes);
    let has_providers = !raw.login.providers.is_empty();
    let admin = raw.admin.parse(has_providers, is_embedded, mistakes);
    let rulebook = parse_rulebook(raw, mistakes);
    let policies = borrow_valid(&rulebook).map(|rulebook| &*rulebook.policies);
    let freshness = raw.jwt.parse_freshness(mistakes);
    let jwt = raw.jwt.parse(freshness, policies, mistakes);
    let login = freshness.and_then(|freshness| raw.login.parse(freshness, policies, mistakes));
    if let (Ok(Some(login)), Ok(Some(sign_in)), Ok(cookie)) = (&login, &sign_in, &cookie) {
        login::check_cookie_scope(login, sign_in, cookie, mistakes);
    }
    let delegates = raw.delegated.parse(policies, mistakes);
    let identity = raw.identity.parse(mistakes);
    let clear_site_data = raw.browser.parse(mistakes);
    let assertion = raw.assertion.parse(mistakes);
    let address = raw.client_address.parse(mistakes);
    let end_retention = events::parse_end_retention(raw, mistakes);
    let shutdown_delay = shutdown::parse_delay(raw, mistakes);
    let shutdown_timeout = shutdown::parse_timeout(raw, mistakes);
    let log = raw.log.parse(mistakes);
    let traces = raw.traces.parse(mistakes);
    let stream_limits = raw.streams.parse(mistakes);
    let cluster = raw.kubernetes.parse(mistakes);
    let proxy = raw.proxy.parse(!raw.listen.proxy.is_off(), mistakes);
    let cookie = cookie?;
    Ok(Config {
        listen: listen?,
        tls: tls?,
        literal_headers: raw.ext_authz.literal_headers,
        stream_deadline: raw.ext_authz.stream_deadline,
        sign_in: sign_in?,
        login: login?,
        store: store?,
        check_timeout: check_timeout?,
        journal_retention: journal_retention?,
        webhook: webhook?,
        bearer: raw.token.bearer,
        front_channel_logout: raw.jwt.front_channel_logout,
        jwt: jwt?,
        key_ring: key_ring?,
        identity: IdentityHeaders {
            relayed: collect_pass_headers(delegates.as_deref().unwrap_or_default()),
            ..identity?
        },
        delegates: delegates?,
        assertion: assertion?.map(Arc::new),
        clear_site_data: clear_site_data?,
        cookie,
        rulebook: rulebook?,
        address: address?,
        end_retention: end_retention?,
        admin: admin?,
        log: log?,
        traces: traces?,
        stream_limits: stream_limits?,
        cluster: cluster?,
        proxy: proxy?,
        shutdown_delay: shutdown_delay?,
        shutdown_timeout: shutdown_timeout?,
    })
}

/// Returns the headers that delegated services may pass to the backend, sorted and without duplicates.
fn collect_pass_headers(delegates: &[DelegateSettings]) -> Vec<HeaderName> {
    let all = delegates
        .iter()
        .flat_map(|it| it.service.passed_headers.iter());
    let mut all: Vec<HeaderName> = all.cloned().collect();
    all.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    all.dedup();
    all
}
