use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use super::caller::Caller;
use super::error::ApiError;
use crate::current::Current;
use crate::kubernetes::Verb;
use crate::policy::{OnStoreFailure, Policy};
use crate::session::{Limits, PolicyName};

/// Lists the policies in force.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    tag = "policies",
    security(("token" = [])),
    responses(
        (status = 200, body = PolicyList),
        (status = 401, body = super::error::Problem),
        (status = 429, description = "too many wrong tokens from this address", body = super::error::Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = super::error::Problem),
    ),
)]
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<PolicyList>, ApiError> {
    caller.require_verb(Verb::List, None).await?;
    let policies = &admin.rulebook.policies;
    let views = policies
        .iter()
        .map(|(name, policy)| PolicyView::new(name, policy, name == policies.default_name()));
    Ok(Json(PolicyList {
        policies: views.collect(),
    }))
}

/// A policy. All times are in seconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyView {
    name: String,
    /// Whether this is the default policy.
    default: bool,
    #[serde(flatten)]
    limits: LimitsView,
    /// The limits with "remember me"; absent if the policy has no `remember`.
    #[serde(skip_serializing_if = "Option::is_none")]
    remember: Option<LimitsView>,
    /// Tighter limits for some groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<VariantView>,
    /// The touch interval: the time for which Curfew collects activity before it writes the activity to the store. If
    /// a process crashes, or another replica answers a check, a session can end too early, by at most this time.
    touch_interval: f64,
    /// Which requests count as activity, such as `any`, `navigation` or `explicit`.
    activity: &'static str,
    /// The maximum number of sessions of a subject; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<usize>,
    /// The action for a sign-in beyond `max_sessions`: `deny` or `end_oldest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_session_limit: Option<&'static str>,
    /// The bindings of sessions: `address`, `user_agent`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bind: Vec<&'static str>,
    /// How long requests are allowed while the store is unavailable; absent if they are denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_failure_grace: Option<f64>,
    /// The preset (a set of maximum limits from a standard) that the limits should meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<&'static str>,
    /// The configured reason for limits above the maximum limits of the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation_reason: Option<String>,
}

/// The limits of a session, in seconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsView {
    /// The idle limit; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<f64>,
    /// The absolute limit; absent in a variant that does not change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    absolute: Option<f64>,
    /// The maximum age of the sign-in for a request; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_auth_age: Option<f64>,
}

/// Tighter limits for some groups.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VariantView {
    /// The groups; membership in one is enough.
    groups: Vec<String>,
    #[serde(flatten)]
    limits: LimitsView,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let absolute = limits.absolute;
        Self {
            idle: limits.idle.map(|idle| idle.as_secs_f64()),
            absolute: (absolute < Limits::NONE.absolute).then_some(absolute.as_secs_f64()),
            max_auth_age: limits.max_auth_age.map(|age| age.as_secs_f64()),
        }
    }
}

impl PolicyView {
    pub(super) fn new(name: &PolicyName, policy: &Policy, default: bool) -> Self {
        let bind = [
            ("address", policy.bind.network.is_some()),
            ("user_agent", policy.bind.user_agent),
        ];
        Self {
            name: name.to_string(),
            default,
            limits: policy.limits.into(),
            remember: policy.remember.map(LimitsView::from),
            variants: policy
                .variants
                .iter()
                .map(|variant| VariantView {
                    groups: variant.groups.clone(),
                    limits: variant.limits.into(),
                })
                .collect(),
            touch_interval: policy.touch_interval.as_secs_f64(),
            activity: policy.activity.as_str(),
            max_sessions: policy.max_sessions.map(|limit| limit.count),
            on_session_limit: policy.max_sessions.map(|limit| limit.on_limit.as_str()),
            bind: bind
                .into_iter()
                .filter_map(|(word, bound)| bound.then_some(word))
                .collect(),
            store_failure_grace: match policy.on_store_failure {
                OnStoreFailure::Deny => None,
                OnStoreFailure::Known { grace } => Some(grace.as_secs_f64()),
            },
            preset: policy.preset.map(|preset| preset.name),
            deviation_reason: policy.deviation_reason.clone(),
        }
    }
}

/// All policies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyList {
    /// The policies, ordered by name.
    pub(super) policies: Vec<PolicyView>,
}
