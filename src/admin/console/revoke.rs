//! Emergency revocation, for people: first the number of sessions that would end, then the button.

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
use super::page::{attribute, page, trouble};
use super::visit::Operator;
use crate::credential::Right;
use crate::current::Current;

#[derive(Template)]
#[template(path = "revoke.html", config = "src/admin/console/askama.toml")]
struct Revoke<'a> {
    place: &'static str,
    fields: &'a Fields,
    policies: Vec<String>,
    sources: [&'static str; 4],
    mistake: Option<String>,
    counted: Option<Counted>,
    rules: Vec<RuleView>,
    /// Whether the operator has the right to revoke.
    may_revoke: bool,
}

/// What a dry run found.
struct Counted {
    conditions: String,
    before: String,
    count: CountView,
}

#[derive(Template)]
#[template(path = "revoked.html", config = "src/admin/console/askama.toml")]
struct Revoked {
    place: &'static str,
    conditions: String,
    before: String,
    in_force: InForceView,
}

/// The form: an empty field is no condition.
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
    /// Set by the button that counts.
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

/// The form; with `count`, how many sessions would end, and the button that ends them.
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
    let policies = admin.lifecycle.policies.iter();
    let status = match mistake {
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let shown = Revoke {
        place: "revoke",
        fields: &fields,
        policies: policies.map(|(name, _)| name.to_string()).collect(),
        sources: SOURCES,
        mistake,
        counted,
        rules: admin.rules(),
        may_revoke: operator.may(Right::Revoke),
    };
    page(status, &shown)
}

async fn count(admin: &Admin, fields: &Fields) -> Result<Counted, ApiError> {
    let (conditions, before) = fields.request().parse(admin.lifecycle.clock.now())?;
    let (rule, count) = admin.count_matching(&conditions, before).await?;
    Ok(Counted {
        conditions: rule.conditions.to_string(),
        before: rule.before.to_string(),
        count: count.into(),
    })
}

/// Revokes.
pub(super) async fn revoke(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    if let Some(refused) = operator.refusal(Right::Revoke) {
        return refused;
    }
    let Ok(Form(fields)) = fields else {
        return trouble(
            StatusCode::BAD_REQUEST,
            "Refused",
            "The form is not complete.",
        );
    };
    let parsed = fields.request().parse(admin.lifecycle.clock.now());
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
                place: "revoke",
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
    trouble(status, "Nothing was revoked", &error.to_string()).into_response()
}

impl Confirmation {
    /// For people.
    fn text(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Unconfirmed => "not confirmed yet",
            Self::OldVersion => "version without this feature: stop it",
        }
    }
}
