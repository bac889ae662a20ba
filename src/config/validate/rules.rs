//! Rules: each with its conditions, and what applies to the requests that meet them.

use std::fmt::Display;

use http::{HeaderName, Method};

use super::Mistakes;
use crate::config::raw::{OneOrMany, RawActivity, RawClientAddress, RawConfig, RawRule};
use crate::policy::{
    Access, AddressHeader, BackgroundHeaders, Conditions, Contract, HostPattern, PathPattern,
    Policies, Rule, RuleActivity, Rules, Terms, pollers,
};
use crate::session::PolicyName;

pub(super) fn parse(
    raw: &RawConfig,
    policies: Option<&Policies>,
    mistakes: &mut Mistakes,
) -> Option<Rules> {
    let cors_preflight = access("cors_preflight", &raw.cors_preflight, mistakes);
    let mut rules = Vec::new();
    let mut complete = true;
    let mut for_all: Option<usize> = None;
    for (index, raw) in raw.rules.iter().enumerate() {
        let key = format!("rules.{index}");
        if let Some(before) = for_all {
            mistakes.note(
                &key,
                format!("is never reached: rules.{before} before it is for every request"),
            );
        }
        let parsed = rule(&key, index, raw, policies, cors_preflight, mistakes);
        complete &= parsed.is_some();
        let parsed = parsed.unwrap_or_default();
        let everything = |conditions: &Conditions| {
            conditions.hosts.is_empty()
                && conditions.paths.is_empty()
                && conditions.methods.is_empty()
                && conditions.contracts.is_empty()
        };
        if parsed.iter().any(|rule| everything(&rule.conditions)) {
            for_all.get_or_insert(index);
        }
        rules.extend(parsed);
    }
    let otherwise = Terms {
        cors_preflight: cors_preflight?,
        ..Terms::default()
    };
    if !complete {
        return None;
    }
    mistakes.take("rules", Rules::new(rules, otherwise))
}

/// What one rule of the configuration stands for: itself, or one for each kind of request that the
/// pollers it names send.
fn rule(
    key: &str,
    index: usize,
    raw: &RawRule,
    policies: Option<&Policies>,
    cors_preflight: Option<Access>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Rule>> {
    let hosts = each(key, "host", &raw.host, mistakes, HostPattern::parse);
    let methods = each(key, "method", &raw.method, mistakes, method);
    let contracts = each(key, "contract", &raw.contract, mistakes, contract);
    let paths = paths(key, raw, mistakes);
    let pollers = each(key, "pollers", &raw.pollers, mistakes, |name| {
        pollers::named(name).ok_or_else(|| {
            let names: Vec<&str> = pollers::ALL.iter().map(|poller| poller.name).collect();
            format!("is not one of the known ones: {}", names.join(", "))
        })
    });
    let terms = terms(key, raw, policies, cors_preflight, mistakes);
    let (conditions, pollers) = (
        Conditions {
            hosts: hosts?,
            paths: paths?,
            methods: methods?,
            contracts: contracts?,
        },
        pollers?,
    );
    let terms = terms?;
    if pollers.is_empty() {
        return Some(vec![Rule {
            index,
            conditions,
            terms,
        }]);
    }
    let Some(root) = root(&conditions.paths).filter(|_| conditions.methods.is_empty()) else {
        mistakes.note(
            format!("{key}.pollers"),
            "says which paths and methods it is for: beside it there can only be one path_prefix, where the application is",
        );
        return None;
    };
    if terms.access == Access::Public || raw.activity.as_deref() == Some("touch") {
        mistakes.note(
            format!("{key}.pollers"),
            "is for requests that need a session and are never activity: leave access and activity out",
        );
        return None;
    }
    let requests = pollers.iter().flat_map(|poller| poller.requests);
    let rules = requests.map(|(method, glob)| {
        Ok::<_, String>(Rule {
            index,
            conditions: Conditions {
                paths: vec![
                    PathPattern::glob(&format!("{root}{glob}"))
                        .map_err(|error| error.to_string())?,
                ],
                methods: vec![self::method(method)?],
                ..conditions.clone()
            },
            terms: Terms {
                activity: RuleActivity::Passive,
                ..terms.clone()
            },
        })
    });
    mistakes.take(&format!("{key}.pollers"), rules.collect())
}

/// The path that an application is below, as a part of a glob.
fn root(paths: &[PathPattern]) -> Option<String> {
    match paths {
        [] => Some(String::new()),
        [PathPattern::Prefix(root)] => Some(globset::escape(root)),
        _ => None,
    }
}

/// Every item of a list, parsed; a mistake for each that can't be.
fn each<T, E: Display>(
    key: &str,
    name: &str,
    list: &OneOrMany,
    mistakes: &mut Mistakes,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<Vec<T>> {
    let mut all = Some(Vec::new());
    for (index, item) in list.0.iter().enumerate() {
        match parse(item) {
            Ok(parsed) => {
                if let Some(all) = &mut all {
                    all.push(parsed);
                }
            }
            Err(error) => {
                let place = if list.0.len() == 1 {
                    format!("{key}.{name}")
                } else {
                    format!("{key}.{name}.{index}")
                };
                mistakes.note(place, error.to_string());
                all = None;
            }
        }
    }
    all
}

fn method(name: &str) -> Result<Method, String> {
    let wrong = || "must be a method in capitals, such as GET".to_owned();
    let method = Method::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(wrong());
    }
    Ok(method)
}

fn contract(name: &str) -> Result<Contract, String> {
    Contract::from_name(name).ok_or_else(|| {
        let names = Contract::ALL.map(Contract::as_str);
        format!("must be one of {}", names.join(", "))
    })
}

fn paths(key: &str, raw: &RawRule, mistakes: &mut Mistakes) -> Option<Vec<PathPattern>> {
    let exact = each(key, "path", &raw.path, mistakes, PathPattern::exact);
    let prefix = each(
        key,
        "path_prefix",
        &raw.path_prefix,
        mistakes,
        PathPattern::prefix,
    );
    let globs = each(
        key,
        "path_glob",
        &raw.path_glob,
        mistakes,
        PathPattern::glob,
    );
    let mut paths = [exact?, prefix?, globs?].concat();
    if raw.path_ambiguous {
        if !paths.is_empty() {
            mistakes.note(
                format!("{key}.path_ambiguous"),
                "is for paths that no other condition matches: put it into a rule of its own",
            );
        }
        paths.push(PathPattern::Ambiguous);
    }
    Some(paths)
}

fn terms(
    key: &str,
    raw: &RawRule,
    policies: Option<&Policies>,
    cors_preflight: Option<Access>,
    mistakes: &mut Mistakes,
) -> Option<Terms> {
    let policy = match &raw.policy {
        Some(name) => policy(key, name, policies, mistakes).map(Some),
        None => Some(None),
    };
    let access_key = format!("{key}.access");
    let access = match &raw.access {
        Some(word) => access(&access_key, word, mistakes),
        None => Some(Access::default()),
    };
    let activity = match raw.activity.as_deref() {
        None | Some("touch") => Ok(RuleActivity::Touch),
        Some("passive") => Ok(RuleActivity::Passive),
        Some(_) => Err("must be `touch` or `passive`"),
    };
    let activity = mistakes.take(&format!("{key}.activity"), activity);
    let cors_preflight = match &raw.cors_preflight {
        Some(word) => self::access(&format!("{key}.cors_preflight"), word, mistakes),
        None => cors_preflight,
    };
    let access = access?;
    if access == Access::Public {
        let useless = [
            ("policy", raw.policy.is_some()),
            ("activity", raw.activity.is_some()),
            ("groups", !raw.groups.is_empty()),
            ("cors_preflight", raw.cors_preflight.is_some()),
        ];
        for (name, _) in useless.into_iter().filter(|(_, given)| *given) {
            mistakes.note(
                format!("{key}.{name}"),
                "means nothing where access is public: no session is looked for",
            );
        }
        if raw.path_ambiguous {
            mistakes.note(
                access_key,
                "must not be public for paths that could be read in two ways",
            );
        }
    }
    Some(Terms {
        policy: policy?,
        access,
        activity: activity?,
        groups: raw.groups.0.clone(),
        cors_preflight: cors_preflight?,
    })
}

fn policy(
    key: &str,
    name: &str,
    policies: Option<&Policies>,
    mistakes: &mut Mistakes,
) -> Option<PolicyName> {
    // With a mistake in the policies, which of them there are is not known.
    let policies = policies?;
    let known = policies.get(name).map(|(name, _)| name.clone());
    mistakes.take(
        &format!("{key}.policy"),
        known.ok_or_else(|| {
            let names: Vec<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
            format!("is not one of the policies: {}", names.join(", "))
        }),
    )
}

fn access(key: &str, word: &str, mistakes: &mut Mistakes) -> Option<Access> {
    let access = match word {
        "protected" => Ok(Access::Protected),
        "public" => Ok(Access::Public),
        _ => Err("must be `protected` or `public`"),
    };
    mistakes.take(key, access)
}

/// Where the address of a client is found.
pub(super) fn client_address(
    raw: &RawClientAddress,
    mistakes: &mut Mistakes,
) -> Option<AddressHeader> {
    let name = raw.header.parse::<HeaderName>();
    let name = name.map_err(|_| "must be the name of a header, such as x-forwarded-for");
    let name = mistakes.take("client_address.header", name);
    if !(1..=100).contains(&raw.proxies) {
        mistakes.note("client_address.proxies", "must be between 1 and 100");
    }
    Some(AddressHeader {
        name: name?,
        proxies: raw.proxies,
    })
}

/// How clients say that a request happens in the background.
pub(super) fn background(raw: &RawActivity, mistakes: &mut Mistakes) -> Option<BackgroundHeaders> {
    let mut more = Vec::new();
    for (name, value) in &raw.background_headers {
        let key = format!("activity.background_headers.{name}");
        let parsed = name.parse::<HeaderName>();
        let parsed = mistakes.take(&key, parsed.map_err(|_| "is not the name of a header"));
        if value.is_empty() || value.trim() != value {
            mistakes.note(&key, "must be the header's value, such as \"1\"");
        }
        more.push((parsed?, value.clone()));
    }
    Some(BackgroundHeaders::new(more))
}
