//! The named hosts: all hosts that the configuration names.

use url::Url;

use super::RawConfig;
use crate::config::mistakes::{Mistakes, Valid};
use crate::policy::{HostPattern, NamedHosts, Rules};

/// Collects hosts from `hosts`, rules, sign-in and delegated services. Skips a value that is not a host, because the
/// parser of its section reports the value.
pub(in crate::config) fn parse(
    raw: &RawConfig,
    rules: &Rules,
    mistakes: &mut Mistakes,
) -> Valid<NamedHosts> {
    let admit_unknown = match &*raw.unknown_hosts {
        "deny" => Ok(false),
        "allow" => Ok(true),
        _ => mistakes.reject("unknown_hosts", "must be `deny` or `allow`"),
    };
    let mut patterns = Vec::new();
    for (index, text) in raw.hosts.0.iter().enumerate() {
        let parsed = HostPattern::parse(text);
        patterns.extend(mistakes.record_error(&format!("hosts.{index}"), parsed));
    }
    let rule_list = rules.as_slice().iter();
    patterns.extend(rule_list.flat_map(|rule| rule.conditions.hosts.iter().cloned()));
    let login_urls = raw.login.url.iter().filter_map(|url| Url::parse(url).ok());
    patterns.extend(login_urls.filter_map(|url| HostPattern::parse(url.host_str()?).ok()));
    let services = raw.delegated.services.values();
    let of_services = services.flat_map(|service| service.hosts.0.iter());
    let other_hosts = raw.sign_in.allowed_hosts.0.iter().chain(of_services);
    patterns.extend(other_hosts.filter_map(|text| HostPattern::parse(without_port(text)).ok()));
    Ok(NamedHosts::new(patterns, admit_unknown?))
}

fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    }
}
