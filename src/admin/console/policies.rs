use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::super::Admin;
use super::page::{attribute, page};
use crate::check::{Original, OriginalUrl};
use crate::current::Current;
use crate::explain::{Question, explain, sample_session};
use crate::policy::{Access, Client, Contract};
use crate::session::{Attributes, Limits, Session};

#[derive(Template)]
#[template(path = "policies.html", config = "src/admin/console/askama.toml")]
struct Policies<'a> {
    place: &'static str,
    policies: Vec<Policy>,
    rules: Vec<Rule>,
    asked: &'a Asked,
    method: &'a str,
    told: Option<Told>,
}

/// How a request would be answered, a name and a text for each fact; or what is wrong with the question.
pub(super) type Told = Result<Vec<(&'static str, String)>, &'static str>;

/// The method that is asked for.
pub(super) const fn method_of(asked: &str) -> &str {
    if asked.is_empty() { "GET" } else { asked }
}

/// A policy, in words.
struct Policy {
    name: String,
    default: bool,
    idle: String,
    absolute: String,
    max_auth_age: String,
    activity: &'static str,
    standard: String,
}

/// A rule, in words.
struct Rule {
    number: usize,
    matches: String,
    access: &'static str,
    policy: String,
}

/// A request to explain, if any, for a new session.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    url: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    groups: String,
}

/// The policies and rules in force.
pub(super) async fn show(
    Current(admin): Current<Admin>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let method = method_of(&asked.method);
    let told = (!asked.url.is_empty()).then(|| on_a_new_session(&admin, &asked, method));
    let shown = Policies {
        place: "policies",
        policies: policies(&admin),
        rules: rules(&admin),
        asked: &asked,
        method,
        told,
    };
    page(StatusCode::OK, &shown)
}

fn policies(admin: &Admin) -> Vec<Policy> {
    let policies = &admin.lifecycle.policies;
    let written = |time| humantime::format_duration(time).to_string();
    let all = policies.iter().map(|(name, policy)| {
        let Limits {
            idle,
            absolute,
            max_auth_age,
        } = policy.limits;
        Policy {
            name: name.to_string(),
            default: name == policies.default_name(),
            idle: idle.map_or_else(|| "none".to_owned(), written),
            absolute: written(absolute),
            max_auth_age: max_auth_age.map_or_else(|| "any".to_owned(), written),
            activity: policy.activity.as_str(),
            standard: policy.preset.map_or("", |preset| preset.name).to_owned(),
        }
    });
    all.collect()
}

fn rules(admin: &Admin) -> Vec<Rule> {
    let rules = admin.book.rules.as_slice().iter();
    let all = rules.map(|rule| Rule {
        number: rule.index,
        matches: rule.conditions.to_string(),
        access: match rule.terms.access {
            Access::Protected => "protected",
            Access::Public => "public",
        },
        policy: rule
            .terms
            .policy
            .as_ref()
            .map_or_else(|| "the session's own".to_owned(), ToString::to_string),
    });
    all.collect()
}

fn on_a_new_session(admin: &Admin, asked: &Asked, method: &str) -> Told {
    let policies = &admin.lifecycle.policies;
    let groups = asked.groups.split([',', ' ']).filter(|it| !it.is_empty());
    let groups: Vec<String> = groups.map(str::to_owned).collect();
    let attributes = Attributes::new(BTreeMap::from([("groups".to_owned(), groups)]));
    let attributes = attributes.map_err(|_| "The groups can't be those of a session.")?;
    let name = match &*asked.policy {
        "" => policies.default_name().as_str(),
        name => name,
    };
    let now = admin.lifecycle.clock.now();
    let session = sample_session(policies, name, false, attributes, now);
    let session = session.ok_or("There is no policy of this name.")?;
    explained(admin, &asked.url, method, &session)
}

/// How a request on a session would be answered now.
pub(super) fn explained(admin: &Admin, url: &str, method: &str, session: &Session) -> Told {
    let url = OriginalUrl::parse(url.trim().as_bytes())
        .map_err(|_| "The address must be absolute, such as https://app.example.com/orders.")?;
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|_| "The method must be one such as GET.")?;
    let headers = HeaderMap::new();
    let question = Question {
        contract: Contract::AuthRequest,
        policy: None,
        original: Original {
            method: &method,
            url,
        },
        headers: &headers,
        client: Client::default(),
    };
    let now = admin.lifecycle.clock.now();
    Ok(explain(&admin.book, &question, session, now).lines())
}
