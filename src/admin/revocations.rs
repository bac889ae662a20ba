//! Emergency revocation: `/api/v1/revocations`.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Admin;
use super::caller::Caller;
use super::error::{ApiError, Problem};
use super::model::ReplicationView;
use crate::actor::Actor;
use crate::current::Current;
use crate::kubernetes::Verb;
use crate::lifecycle::{EmergencyRevocation, MatchCount};
use crate::policy::normalize_host;
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::{PolicyName, Timestamp};
use crate::store::MAX_REVOCATION_RULES;

/// The time limit of a dry run.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that the response waits for the replicas to confirm a revocation.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval at which Curfew looks for new confirmations of a revocation from the replicas.
const CONFIRMATION_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The maximum size of a condition.
const MAX_CONDITION_BYTES: usize = 512;
/// The session sources that a condition can name.
pub(super) const SOURCES: [&str; 4] = ["token", "login", "jwt", "delegated"];

/// The conditions that select the sessions to end. A session ends if it meets all conditions. Name at least one
/// condition, or set `everybody`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeMatching {
    /// Ends all sessions. Cannot be combined with another condition.
    #[serde(default)]
    pub(super) everybody: bool,
    /// The home policy.
    #[schema(example = "staff")]
    pub(super) policy: Option<String>,
    /// The host of the sign-in. A session without a recorded host matches, too.
    #[schema(example = "app.example.com")]
    pub(super) host: Option<String>,
    /// How the session was started: `token`, `login`, `jwt` or `delegated`.
    pub(super) source: Option<String>,
    /// A group of the subject. A subject with unknown groups matches, too.
    pub(super) group: Option<String>,
    /// The issuer of the identity provider: the `iss` of its tokens. A session without a recorded provider matches,
    /// too.
    #[schema(example = "https://id.example.com")]
    pub(super) provider: Option<String>,
    /// Ends only sessions that started before this time, RFC 3339; the default is now.
    pub(super) before: Option<String>,
    /// Counts the sessions, and ends none.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// A revocation, or the result of a dry run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revocation {
    /// Whether this was a dry run. A dry run ends no session.
    dry_run: bool,
    /// All conditions: `everybody`, or, for example, `policy=staff host=app.example.com`.
    conditions: String,
    /// The revocation ends only sessions that started before this time, RFC 3339.
    before: String,
    /// The result of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CountView>,
    /// Which replicas have confirmed the revocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<InForceView>,
    /// The confirmations by Redis replicas; present only if `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<ReplicationView>,
}

/// The number of sessions that match the conditions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountView {
    /// Live sessions that would end.
    pub(super) live: usize,
    /// Whether all records were read in time. If so, `live` is the number in the whole store.
    pub(super) exact: bool,
    /// The number of sessions in `live` that lack a property that a condition names. These sessions count as
    /// matching.
    pub(super) assumed: usize,
    /// The number of records that were read. This includes records of ended sessions.
    pub(super) checked: usize,
    /// The number of records that could not be read. These records give no access.
    pub(super) unreadable: usize,
    /// A text about the sessions that no dry run can count.
    pub(super) not_counted: &'static str,
}

impl From<MatchCount> for CountView {
    fn from(count: MatchCount) -> Self {
        Self {
            live: count.live,
            exact: count.complete && count.unreadable == 0,
            assumed: count.assumed,
            checked: count.checked,
            unreadable: count.unreadable,
            not_counted: "credentials of other issuers that no replica has seen yet. The revocation covers them, too, except credentials of a delegated service that does not send the time of the sign-in",
        }
    }
}

/// Which replicas have confirmed a revocation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InForceView {
    /// Whether every replica has confirmed the revocation. The value is also `false` if the replica that answers has
    /// just started, because it may not have found all other replicas yet.
    pub(super) everywhere: bool,
    /// The replicas that share the store, as far as this replica knows them.
    pub(super) replicas: Vec<ReplicaView>,
    /// The latest time, RFC 3339, at which a replica without a confirmation stops answering from its own memory. After
    /// this time, the replica asks the store for each check, or denies.
    pub(super) by: String,
}

/// The state of one replica.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplicaView {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: Confirmation,
}

/// Whether a replica applies a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Confirmation {
    /// The replica applies the revocation.
    InForce,
    /// The replica has not confirmed the revocation yet. See `by`.
    Unconfirmed,
    /// The version of the replica does not support emergency revocation: stop the replica.
    OldVersion,
}

/// All revocations in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revocations {
    revocations: Vec<RuleView>,
}

/// A revocation in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleView {
    /// `everybody`, or, for example, `policy=staff host=app.example.com`.
    pub(super) conditions: String,
    /// Matching sessions that started before this time have ended, RFC 3339.
    pub(super) before: String,
}

impl RevokeMatching {
    /// Validates the conditions and the time.
    pub(super) fn parse(
        self,
        now: Timestamp,
    ) -> Result<(RevocationConditions, Option<Timestamp>), ApiError> {
        let invalid = |text: &str| ApiError::Invalid(text.to_owned());
        let policy = self.policy.map(PolicyName::new).transpose();
        let policy = policy.map_err(|error| ApiError::Invalid(format!("policy: {error}")))?;
        let host = self.host.map(|host| normalize_host(&host).into_owned());
        if let Some(source) = &self.source
            && !SOURCES.contains(&source.as_str())
        {
            return Err(invalid(
                "source: must be one of token, login, jwt and delegated",
            ));
        }
        for text in [&host, &self.group, &self.provider].into_iter().flatten() {
            let is_valid = (1..=MAX_CONDITION_BYTES).contains(&text.len());
            if !is_valid || text.chars().any(char::is_control) {
                return Err(invalid(
                    "host, group, provider: must have 1 to 512 bytes without control characters",
                ));
            }
        }
        let conditions = RevocationConditions {
            policy: policy.map(|policy| policy.to_string()),
            host,
            source: self.source,
            group: self.group,
            provider: self.provider,
        };
        if conditions.match_everybody() != self.everybody {
            return Err(invalid(
                "name a condition (policy, host, source, group, provider), or set everybody; not both",
            ));
        }
        let before = self.before.map(|text| {
            let time = humantime::parse_rfc3339_weak(&text).ok();
            // A time in the future would also end the sessions of later sign-ins.
            let time = time.map(Timestamp::from).filter(|time| *time <= now);
            time.ok_or_else(|| {
                invalid("before: must be a time in the past, such as 2026-11-23T09:30:00Z")
            })
        });
        Ok((conditions, before.transpose()?))
    }
}

impl Admin {
    /// Counts the sessions that a revocation would end.
    pub(super) async fn count_matching(
        &self,
        conditions: &RevocationConditions,
        before: Option<Timestamp>,
    ) -> Result<(RevocationRule, MatchCount), ApiError> {
        let rule = RevocationRule {
            conditions: conditions.clone(),
            before: before.unwrap_or_else(|| self.clock.now()),
        };
        let count = self.lifecycle.count_matches(&rule, COUNT_TIMEOUT).await?;
        Ok((rule, count))
    }

    /// Revokes the sessions. Waits until all replicas have confirmed the revocation, for at most one second.
    pub(super) async fn revoke_matching(
        &self,
        conditions: RevocationConditions,
        before: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<(EmergencyRevocation, InForceView), ApiError> {
        let revoked = self
            .lifecycle
            .revoke_matching(conditions, before, actor)
            .await?;
        let revoked = revoked.ok_or_else(|| {
            ApiError::LimitReached(format!(
                "{MAX_REVOCATION_RULES} revocations are in force, which is the maximum; \
                 a revocation for `everybody` replaces them"
            ))
        })?;
        let waiting = async {
            loop {
                let view = self.confirmation_view(&revoked);
                if view.everywhere {
                    return view;
                }
                tokio::time::sleep(CONFIRMATION_POLL_INTERVAL).await;
            }
        };
        let waited = tokio::time::timeout(CONFIRMATION_TIMEOUT, waiting).await;
        let in_force = waited.unwrap_or_else(|_| self.confirmation_view(&revoked));
        Ok((revoked, in_force))
    }

    /// Returns which replicas have confirmed the revocation.
    fn confirmation_view(&self, revoked: &EmergencyRevocation) -> InForceView {
        let this = self.ops.replicas.this();
        let replicas = self.ops.replicas.all().into_iter().map(|replica| {
            let state = match (replica.revocations, revoked.change) {
                _ if replica.name == this.name => Confirmation::InForce,
                (Some(read), Some(change)) if read >= change => Confirmation::InForce,
                (Some(_), _) => Confirmation::Unconfirmed,
                (None, _) => Confirmation::OldVersion,
            };
            ReplicaView {
                name: replica.name,
                version: replica.version,
                state,
            }
        });
        let replicas: Vec<ReplicaView> = replicas.collect();
        let mut states = replicas.iter().map(|replica| replica.state);
        // With the store `memory`, `change` is `None`, and there are no other replicas.
        let knows_all = revoked.change.is_none() || self.ops.replicas.knows_all();
        InForceView {
            everywhere: knows_all && states.all(|state| state == Confirmation::InForce),
            replicas,
            by: revoked.in_force_by.to_string(),
        }
    }

    /// Returns the revocations in force.
    pub(super) fn revocation_rules(&self) -> Vec<RuleView> {
        let rules = self.stores.cut_offs.rules();
        let views = rules.iter().map(|rule| RuleView {
            conditions: rule.conditions.to_string(),
            before: rule.before.to_string(),
        });
        views.collect()
    }
}

/// Ends all sessions that match the conditions and started before a time, on every replica. The revocation also
/// covers credentials that no replica has seen yet. It does not affect later sign-ins. The sessions end in the
/// background. A dry run only counts.
#[utoipa::path(
    post,
    path = "/api/v1/revocations",
    tag = "revocations",
    security(("token" = [])),
    request_body = RevokeMatching,
    responses(
        (status = 200, description = "in force on every replica, or the result of a dry run", body = Revocation),
        (status = 202, description = "in force on this replica; another replica or a Redis replica has not confirmed it yet", body = Revocation),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 403, description = "no Kubernetes role allows it", body = Problem),
        (status = 409, description = "too many revocations in force", body = Problem),
        (status = 503, description = "the revocation may not be in force; repeat the request", body = Problem),
    ),
)]
pub(super) async fn revoke(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<RevokeMatching>, JsonRejection>,
) -> Result<(StatusCode, Json<Revocation>), ApiError> {
    let Json(request) = body?;
    let dry_run = request.dry_run;
    caller
        .require_verb(if dry_run { Verb::List } else { Verb::Delete }, None)
        .await?;
    let (conditions, before) = request.parse(admin.clock.now())?;
    if dry_run {
        let (rule, count) = admin.count_matching(&conditions, before).await?;
        let revocation = Revocation {
            dry_run,
            conditions: rule.conditions.to_string(),
            before: rule.before.to_string(),
            count: Some(count.into()),
            in_force: None,
            replication: None,
        };
        return Ok((StatusCode::OK, Json(revocation)));
    }
    let (revoked, in_force) = admin
        .revoke_matching(conditions, before, &caller.actor())
        .await?;
    let status = if in_force.everywhere && revoked.replication.is_confirmed() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let revocation = Revocation {
        dry_run,
        conditions: revoked.rule.conditions.to_string(),
        before: revoked.rule.before.to_string(),
        count: None,
        in_force: Some(in_force),
        replication: ReplicationView::new(revoked.replication),
    };
    Ok((status, Json(revocation)))
}

/// Lists the revocations in force on this replica. Curfew deletes a revocation when no session that started before its
/// time can still be live.
#[utoipa::path(
    get,
    path = "/api/v1/revocations",
    tag = "revocations",
    security(("token" = [])),
    responses(
        (status = 200, body = Revocations),
        (status = 401, body = Problem),
        (status = 403, description = "no Kubernetes role allows it", body = Problem),
    ),
)]
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Revocations>, ApiError> {
    caller.require_verb(Verb::List, None).await?;
    let revocations = admin.revocation_rules();
    Ok(Json(Revocations { revocations }))
}
