use std::fmt::Display;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawConfig;
use crate::config::mistakes::{Invalid, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::text::OneOrMany;
use crate::policy::{
    Access, Conditions, Contract, HostPattern, PathPattern, Policies, Rule, RuleActivity, Rules,
    StreamActivity, Terms, pollers,
};
use crate::session::PolicyName;

/// A rule: conditions on requests, and settings for the requests that meet them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    /// The host, or `*.` and a domain for all subdomains.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub host: OneOrMany,
    /// The exact path.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub path: OneOrMany,
    /// A path, and all paths below it.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub path_prefix: OneOrMany,
    /// A glob for the path: `*` matches within a segment, `**` across segments.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub path_glob: OneOrMany,
    /// Matches ambiguous paths, which no other path condition matches.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_ambiguous: bool,
    /// Names of known applications. The rule matches the passive requests of their pages, such as polling.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub pollers: OneOrMany,
    /// The HTTP method.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub method: OneOrMany,
    /// The contract of the check: `auth-request`, `forward-auth`, `ext-authz`, `ext-authz-grpc`, `spoe`,
    /// `layer`, `proxy`.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub contract: OneOrMany,
    /// A policy whose limits apply in addition to the home policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `protected`, or `public` if no session is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub access: Option<String>,
    /// `touch`, or `passive` if these requests are never activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["touch", "passive"]))]
    pub activity: Option<String>,
    /// `off` if data inside an open stream never counts as activity, or `client_data` if the policies decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["off", "client_data"]))]
    pub stream_activity: Option<String>,
    /// The messages of a WebSocket that never count as activity, in addition to those of the policies: names of
    /// applications, or regular expressions between slashes.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub stream_heartbeats: OneOrMany,
    /// Groups; the subject must be a member of at least one.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub groups: OneOrMany,
    /// `protected`, or `public` if CORS preflights need no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: Option<String>,
}

pub(in crate::config) fn parse(
    raw: &RawConfig,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<Rules> {
    let cors_preflight = parse_access("cors_preflight", &raw.cors_preflight, mistakes);
    let mut rules = Vec::new();
    let mut is_complete = true;
    let mut catch_all: Option<usize> = None;
    for (index, raw) in raw.rules.iter().enumerate() {
        let key = format!("rules.{index}");
        if let Some(before) = catch_all {
            mistakes.add(
                &key,
                format!("is never reached: rules.{before} matches every request"),
            );
        }
        let parsed = parse_rule(&key, index, raw, policies, cors_preflight, mistakes);
        is_complete &= parsed.is_ok();
        let parsed = parsed.unwrap_or_default();
        let matches_everything = |conditions: &Conditions| {
            conditions.hosts.is_empty()
                && conditions.paths.is_empty()
                && conditions.methods.is_empty()
                && conditions.contracts.is_empty()
        };
        if parsed
            .iter()
            .any(|rule| matches_everything(&rule.conditions))
        {
            catch_all.get_or_insert(index);
        }
        rules.extend(parsed);
    }
    let default_terms = Terms {
        cors_preflight: cors_preflight?,
        ..Terms::default()
    };
    if !is_complete {
        return Err(Invalid);
    }
    mistakes.record_error("rules", Rules::new(rules, default_terms))
}

/// Parses one rule. A rule with `pollers` becomes several rules, one for each kind of polling request.
fn parse_rule(
    key: &str,
    index: usize,
    raw: &RawRule,
    policies: Valid<&Policies>,
    cors_preflight: Valid<Access>,
    mistakes: &mut Mistakes,
) -> Valid<Vec<Rule>> {
    let hosts = parse_each(key, "host", &raw.host, mistakes, HostPattern::parse);
    let methods = parse_each(key, "method", &raw.method, mistakes, parse_method);
    let contracts = parse_each(key, "contract", &raw.contract, mistakes, parse_contract);
    let paths = parse_paths(key, raw, mistakes);
    let pollers = parse_each(key, "pollers", &raw.pollers, mistakes, |name| {
        pollers::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = pollers::ALL.iter().map(|poller| poller.name).collect();
            format!("is not a known application: {}", names.join(", "))
        })
    });
    let terms = parse_terms(key, raw, policies, cors_preflight, mistakes);
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
        return Ok(vec![Rule {
            index,
            conditions,
            terms,
        }]);
    }
    let Some(root) = escaped_prefix(&conditions.paths).filter(|_| conditions.methods.is_empty())
    else {
        return mistakes.reject(
            format!("{key}.pollers"),
            "sets paths and methods itself: the rule may also have one path_prefix (the path of the application), \
             but no other path and no method",
        );
    };
    if terms.access == Access::Public || raw.activity.as_deref() == Some("touch") {
        return mistakes.reject(
            format!("{key}.pollers"),
            "makes requests protected and passive: omit access and activity",
        );
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
                methods: vec![parse_method(method)?],
                ..conditions.clone()
            },
            terms: Terms {
                activity: RuleActivity::Passive,
                ..terms.clone()
            },
        })
    });
    mistakes.record_error(&format!("{key}.pollers"), rules.collect())
}

/// Returns the path prefix of an application, escaped for a glob; `None` if the rule has other path conditions.
fn escaped_prefix(paths: &[PathPattern]) -> Option<String> {
    match paths {
        [] => Some(String::new()),
        [PathPattern::Prefix(root)] => Some(globset::escape(root)),
        _ => None,
    }
}

/// Parses every item of a list; adds a mistake for each invalid item.
fn parse_each<T, E: Display>(
    key: &str,
    name: &str,
    list: &OneOrMany,
    mistakes: &mut Mistakes,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Valid<Vec<T>> {
    let mut all = Ok(Vec::new());
    for (index, item) in list.0.iter().enumerate() {
        match parse(item) {
            Ok(parsed) => {
                if let Ok(all) = &mut all {
                    all.push(parsed);
                }
            }
            Err(error) => {
                let item_key = if list.0.len() == 1 {
                    format!("{key}.{name}")
                } else {
                    format!("{key}.{name}.{index}")
                };
                all = mistakes.reject(item_key, error.to_string());
            }
        }
    }
    all
}

fn parse_method(name: &str) -> Result<Method, String> {
    let message = || "must be a method in capitals, such as GET".to_owned();
    let method = Method::from_bytes(name.as_bytes()).map_err(|_| message())?;
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(message());
    }
    Ok(method)
}

fn parse_contract(name: &str) -> Result<Contract, String> {
    Contract::from_name(name).ok_or_else(|| {
        let names = Contract::ALL.map(Contract::as_str);
        format!("must be one of {}", names.join(", "))
    })
}

fn parse_paths(key: &str, raw: &RawRule, mistakes: &mut Mistakes) -> Valid<Vec<PathPattern>> {
    let exact = parse_each(key, "path", &raw.path, mistakes, PathPattern::exact);
    let prefix = parse_each(
        key,
        "path_prefix",
        &raw.path_prefix,
        mistakes,
        PathPattern::prefix,
    );
    let globs = parse_each(
        key,
        "path_glob",
        &raw.path_glob,
        mistakes,
        PathPattern::glob,
    );
    let mut paths = [exact?, prefix?, globs?].concat();
    if raw.path_ambiguous {
        if !paths.is_empty() {
            mistakes.add(
                format!("{key}.path_ambiguous"),
                "cannot be combined with other path conditions: use a separate rule",
            );
        }
        paths.push(PathPattern::Ambiguous);
    }
    Ok(paths)
}

fn parse_terms(
    key: &str,
    raw: &RawRule,
    policies: Valid<&Policies>,
    cors_preflight: Valid<Access>,
    mistakes: &mut Mistakes,
) -> Valid<Terms> {
    let policy = match &raw.policy {
        Some(name) => parse_policy(key, name, policies, mistakes).map(Some),
        None => Ok(None),
    };
    let access_key = format!("{key}.access");
    let access = match &raw.access {
        Some(word) => parse_access(&access_key, word, mistakes),
        None => Ok(Access::default()),
    };
    let activity = match raw.activity.as_deref() {
        None | Some("touch") => Ok(RuleActivity::Touch),
        Some("passive") => Ok(RuleActivity::Passive),
        Some(_) => Err("must be `touch` or `passive`"),
    };
    let activity = mistakes.record_error(&format!("{key}.activity"), activity);
    let stream_key = format!("{key}.stream_activity");
    let stream_activity = raw.stream_activity.as_deref();
    let stream_activity = stream_activity
        .map(|word| super::policy::parse_stream_activity(&stream_key, word, mistakes))
        .transpose();
    let heartbeats_key = format!("{key}.stream_heartbeats");
    let stream_heartbeats =
        super::policy::parse_heartbeats(&heartbeats_key, &raw.stream_heartbeats, mistakes);
    if stream_activity == Ok(Some(StreamActivity::Off)) {
        super::policy::reject_heartbeats(heartbeats_key, &raw.stream_heartbeats, mistakes);
    }
    let cors_preflight = match &raw.cors_preflight {
        Some(word) => parse_access(&format!("{key}.cors_preflight"), word, mistakes),
        None => cors_preflight,
    };
    let access = access?;
    if access == Access::Public {
        let ignored_keys = [
            ("policy", raw.policy.is_some()),
            ("activity", raw.activity.is_some()),
            ("stream_activity", raw.stream_activity.is_some()),
            ("stream_heartbeats", !raw.stream_heartbeats.is_empty()),
            ("groups", !raw.groups.is_empty()),
            ("cors_preflight", raw.cors_preflight.is_some()),
        ];
        for (name, _) in ignored_keys.into_iter().filter(|(_, is_set)| *is_set) {
            mistakes.add(
                format!("{key}.{name}"),
                "has no effect where access is public: Curfew does not look for a session",
            );
        }
        if raw.path_ambiguous {
            mistakes.add(access_key, "must not be public for ambiguous paths");
        }
    }
    Ok(Terms {
        policy: policy?,
        access,
        activity: activity?,
        stream_activity: stream_activity?,
        stream_heartbeats: stream_heartbeats?,
        groups: raw.groups.0.clone(),
        cors_preflight: cors_preflight?,
    })
}

fn parse_policy(
    key: &str,
    name: &str,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<PolicyName> {
    // If the policies have a mistake, their names are unknown. So do not look up the name.
    let policies = policies?;
    let policy_name = policies.get(name).map(|(name, _)| name.clone());
    mistakes.record_error(
        &format!("{key}.policy"),
        policy_name.ok_or_else(|| {
            let names: Vec<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
            format!("is not one of the policies: {}", names.join(", "))
        }),
    )
}

fn parse_access(key: &str, word: &str, mistakes: &mut Mistakes) -> Valid<Access> {
    let access = match word {
        "protected" => Ok(Access::Protected),
        "public" => Ok(Access::Public),
        _ => Err("must be `protected` or `public`"),
    };
    mistakes.record_error(key, access)
}
