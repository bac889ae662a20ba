use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::super::Admin;
use super::page::{escape_attribute, render_page};
use crate::check::{Original, OriginalUrl};
use crate::current::Current;
use crate::explain::{ExplainedRequest, explain, sample_session};
use crate::policy::{Access, Client, Contract};
use crate::session::{Attributes, Limits, Session};

#[derive(Template)]
#[template(path = "policies.html", config = "src/admin/console/askama.toml")]
struct PoliciesTemplate<'a> {
    active_page: &'static str,
    policies: Vec<PolicyRow>,
    rules: Vec<RuleRow>,
    query: &'a ExplainQuery,
    method: &'a str,
    explanation: Option<ExplanationLines>,
}

/// An explanation as pairs of name and text, or an error message about the input.
pub(super) type ExplanationLines = Result<Vec<(&'static str, String)>, &'static str>;

/// Returns the method of the form, or `GET` if the field is empty.
pub(super) const fn method_or_default(method: &str) -> &str {
    if method.is_empty() { "GET" } else { method }
}

/// A row of the table of policies, as text.
struct PolicyRow {
    name: String,
    is_default: bool,
    idle: String,
    absolute: String,
    max_auth_age: String,
    activity: &'static str,
    preset: String,
}

/// A row of the table of rules, as text.
struct RuleRow {
    number: usize,
    conditions: String,
    access: &'static str,
    policy: String,
}

/// The form to explain a request with a new session. If `url` is empty, the page shows no explanation.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ExplainQuery {
    #[serde(default)]
    url: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    groups: String,
}

/// Shows the policies and rules in force.
pub(super) async fn show(
    Current(admin): Current<Admin>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let method = method_or_default(&query.method);
    let explanation = (!query.url.is_empty()).then(|| explain_new_session(&admin, &query, method));
    let template = PoliciesTemplate {
        active_page: "policies",
        policies: policy_rows(&admin),
        rules: rule_rows(&admin),
        query: &query,
        method,
        explanation,
    };
    render_page(StatusCode::OK, &template)
}

fn policy_rows(admin: &Admin) -> Vec<PolicyRow> {
    let policies = &admin.rulebook.policies;
    let format_time = |time| humantime::format_duration(time).to_string();
    let all = policies.iter().map(|(name, policy)| {
        let Limits {
            idle,
            absolute,
            max_auth_age,
        } = policy.limits;
        PolicyRow {
            name: name.to_string(),
            is_default: name == policies.default_name(),
            idle: idle.map_or_else(|| "off".to_owned(), format_time),
            absolute: format_time(absolute),
            max_auth_age: max_auth_age.map_or_else(|| "any".to_owned(), format_time),
            activity: policy.activity.as_str(),
            preset: policy.preset.map_or("", |preset| preset.name).to_owned(),
        }
    });
    all.collect()
}

fn rule_rows(admin: &Admin) -> Vec<RuleRow> {
    let rules = admin.rulebook.rules.as_slice().iter();
    let all = rules.map(|rule| RuleRow {
        number: rule.index,
        conditions: rule.conditions.to_string(),
        access: match rule.terms.access {
            Access::Protected => "protected",
            Access::Public => "public",
        },
        policy: rule
            .terms
            .policy
            .as_ref()
            .map_or_else(|| "home policy".to_owned(), ToString::to_string),
    });
    all.collect()
}

fn explain_new_session(admin: &Admin, query: &ExplainQuery, method: &str) -> ExplanationLines {
    let policies = &admin.rulebook.policies;
    let groups = query.groups.split([',', ' ']).filter(|it| !it.is_empty());
    let groups: Vec<String> = groups.map(str::to_owned).collect();
    let attributes = Attributes::new(BTreeMap::from([("groups".to_owned(), groups)]));
    let attributes = attributes.map_err(|_| "The groups are invalid.")?;
    let name = match &*query.policy {
        "" => policies.default_name().as_str(),
        name => name,
    };
    let now = admin.clock.now();
    let session = sample_session(policies, name, false, attributes, now);
    let session = session.ok_or("There is no policy with this name.")?;
    explain_request(admin, &query.url, method, &session)
}

/// Explains how a request with this session would be answered now.
pub(super) fn explain_request(
    admin: &Admin,
    url: &str,
    method: &str,
    session: &Session,
) -> ExplanationLines {
    let url = OriginalUrl::parse(url.trim().as_bytes())
        .map_err(|_| "The URL must be absolute, for example https://app.example.com/orders.")?;
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|_| "The method is invalid. Use a method such as GET.")?;
    let headers = HeaderMap::new();
    let explained_request = ExplainedRequest {
        contract: Contract::AuthRequest,
        policy: None,
        original: Original::new(&method, url),
        headers: &headers,
        client: Client::default(),
    };
    let now = admin.clock.now();
    Ok(explain(&admin.rulebook, &explained_request, session, now).label_text_pairs())
}
