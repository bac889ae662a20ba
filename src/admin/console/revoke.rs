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
use super::page::{attribute, error_page, page};
use crate::credential::Right;
use crate::current::Current;

#[derive(Template)]
#[template(path = "revoke.html", config = "src/admin/console/askama.toml")]
struct Revoke<'a> {
    active_page: &'static str,
    fields: &'a Fields,
    policies: Vec<String>,
    sources: [&'static str; 4],
    mistake: Option<String>,
    counted: Option<Counted>,
    rules: Vec<RuleView>,
    /// Whether the operator has the right `revoke`.
    may_revoke: bool,
}

/// The result of a dry run.
struct Counted {
    conditions: String,
    before: String,
    count: CountView,
}

#[derive(Template)]
#[template(path = "revoked.html", config = "src/admin/console/askama.toml")]
struct Revoked {
    active_page: &'static str,
    conditions: String,
    before: String,
    in_force: InForceView,
}

/// The form. An empty field is not a condition.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Fields {
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

impl Fields {
    fn request(&self) -> RevokeMatching {
        let given = |text: &String| {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        RevokeMatching {
            everybody: !self.everybody.is_empty(),
            policy: given(&self.policy),
            host: given(&self.host),
            source: given(&self.source),
            group: given(&self.group),
            provider: given(&self.provider),
            before: given(&self.before),
            dry_run: false,
        }
    }
}

/// Shows the form. If `count` is set, also shows the number of sessions and the button that ends them.
pub(super) async fn form(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Result<Query<Fields>, QueryRejection>,
) -> Response {
    let Query(fields) = fields.unwrap_or_default();
    let (mut mistake, mut counted) = (None, None);
    if !fields.count.is_empty() {
        match count(&admin, &fields).await {
            Ok(found) => counted = Some(found),
            Err(error @ ApiError::Invalid(_)) => mistake = Some(error.to_string()),
            Err(error) => return failed(&error),
        }
    }
    let policies = admin.book.policies.iter();
    let status = match mistake {
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let shown = Revoke {
        active_page: "revoke",
        fields: &fields,
        policies: policies.map(|(name, _)| name.to_string()).collect(),
        sources: SOURCES,
        mistake,
        counted,
        rules: admin.rules(),
        may_revoke: operator.has_right(Right::Revoke),
    };
    page(status, &shown)
}

async fn count(admin: &Admin, fields: &Fields) -> Result<Counted, ApiError> {
    let (conditions, before) = fields.request().parse(admin.clock.now())?;
    let (rule, count) = admin.count_matching(&conditions, before).await?;
    Ok(Counted {
        conditions: rule.conditions.to_string(),
        before: rule.before.to_string(),
        count: count.into(),
    })
}

/// Revokes the sessions, and shows which replicas have confirmed the revocation.
pub(super) async fn revoke(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Result<Form<Fields>, FormRejection>,
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
    let parsed = fields.request().parse(admin.clock.now());
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
            let shown = Revoked {
                active_page: "revoke",
                conditions: revoked.rule.conditions.to_string(),
                before: revoked.rule.before.to_string(),
                in_force,
            };
            page(StatusCode::OK, &shown)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &ApiError) -> Response {
    let status = match error {
        ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
        ApiError::TooMany(_) => StatusCode::CONFLICT,
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
            Self::OldVersion => "version without this feature: stop it",
        }
    }
}
