//! The page for an emergency revocation. The page counts the sessions first, and asks the operator for a
//! confirmation.

use askama::Template;
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

use super::super::Admin;
use super::super::error::ApiError;
use super::super::revocations::{
    Confirmation, CountView, InForceView, RevokeMatching, RuleView, SOURCES,
};
use super::operator_session::Operator;
use super::page::{error_page, escape_attribute, render_page};
use crate::credential::Right;
use crate::current::Current;

#[derive(Template)]
#[template(path = "revoke.html", config = "src/admin/console/askama.toml")]
struct RevokeTemplate<'a> {
    active_page: &'static str,
    fields: &'a RevokeForm,
    policies: Vec<String>,
    sources: [&'static str; 4],
    error_message: Option<String>,
    dry_run_result: Option<DryRun>,
    rules: Vec<RuleView>,
    /// Whether the operator has the right `revoke`.
    may_revoke: bool,
}

/// The result of a dry run.
struct DryRun {
    conditions: String,
    before: String,
    count: CountView,
}

#[derive(Template)]
#[template(path = "revoked.html", config = "src/admin/console/askama.toml")]
struct RevokedTemplate {
    active_page: &'static str,
    conditions: String,
    before: String,
    in_force: InForceView,
}

/// The form. An empty field is not a condition.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RevokeForm {
    #[serde(default)]
    everybody: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    before: String,
    /// Not empty if the operator pressed the "Count sessions" button.
    #[serde(default)]
    count: String,
}

impl RevokeForm {
    fn to_request(&self) -> RevokeMatching {
        let non_empty = |text: &String| {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        RevokeMatching {
            everybody: !self.everybody.is_empty(),
            policy: non_empty(&self.policy),
            host: non_empty(&self.host),
            source: non_empty(&self.source),
            group: non_empty(&self.group),
            provider: non_empty(&self.provider),
            before: non_empty(&self.before),
            dry_run: false,
        }
    }
}

/// Shows the form. If `count` is set, also shows the number of sessions and the button that ends them.
pub(super) async fn show_form(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Result<Query<RevokeForm>, QueryRejection>,
) -> Response {
    let Query(fields) = fields.unwrap_or_default();
    let (mut error_message, mut dry_run_result) = (None, None);
    if !fields.count.is_empty() {
        match count_sessions(&admin, &fields).await {
            Ok(found) => dry_run_result = Some(found),
            Err(error @ ApiError::Invalid(_)) => error_message = Some(error.to_string()),
            Err(error) => return failure_page(&error),
        }
    }
    let policies = admin.rulebook.policies.iter();
    let status = match error_message {
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let template = RevokeTemplate {
        active_page: "revoke",
        fields: &fields,
        policies: policies.map(|(name, _)| name.to_string()).collect(),
        sources: SOURCES,
        error_message,
        dry_run_result,
        rules: admin.revocation_rules(),
        may_revoke: operator.has_right(Right::Revoke),
    };
    render_page(status, &template)
}

async fn count_sessions(admin: &Admin, fields: &RevokeForm) -> Result<DryRun, ApiError> {
    let (conditions, before) = fields.to_request().parse(admin.clock.now())?;
    let (rule, count) = admin.count_matching(&conditions, before).await?;
    Ok(DryRun {
        conditions: rule.conditions.to_string(),
        before: rule.before.to_string(),
        count: count.into(),
    })
}

/// Revokes the sessions, and shows which replicas have confirmed the revocation.
pub(super) async fn revoke(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Result<Form<RevokeForm>, FormRejection>,
) -> Response {
    if let Some(refused) = operator.refusal(Right::Revoke) {
        return refused;
    }
    let Ok(Form(fields)) = fields else {
        return error_page(
            StatusCode::BAD_REQUEST,
            "Refused",
            "The form is incomplete.",
        );
    };
    let parsed = fields.to_request().parse(admin.clock.now());
    let revoked = match parsed {
        Ok((conditions, before)) => {
            admin
                .revoke_matching(conditions, before, &operator.actor())
                .await
        }
        Err(error) => Err(error),
    };
    match revoked {
        Ok((revoked, in_force)) => {
            let template = RevokedTemplate {
                active_page: "revoke",
                conditions: revoked.rule.conditions.to_string(),
                before: revoked.rule.before.to_string(),
                in_force,
            };
            render_page(StatusCode::OK, &template)
        }
        Err(error) => failure_page(&error),
    }
}

fn failure_page(error: &ApiError) -> Response {
    let status = match error {
        ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
        ApiError::LimitReached(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error_page(status, "No session was revoked", &error.to_string()).into_response()
}

impl Confirmation {
    /// Returns the text for the table of replicas.
    fn text(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Unconfirmed => "not confirmed yet",
            Self::OldVersion => "version without this feature: stop this replica",
        }
    }
}
