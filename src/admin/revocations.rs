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

/// How long a dry run counts, at most.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer waits for the replicas, and how often it looks.
const CONFIRMATION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));
/// The most bytes of a condition.
const MAX_CONDITION_BYTES: usize = 512;
/// The sources of sessions.
pub(super) const SOURCES: [&str; 4] = ["token", "login", "jwt", "delegated"];

/// Which sessions to end. All conditions must hold; name at least one, or set `everybody`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeMatching {
    /// Every session; not together with a condition.
    #[serde(default)]
    pub(super) everybody: bool,
    /// The home policy.
    #[schema(example = "staff")]
    pub(super) policy: Option<String>,
    /// The host of the sign-in. A session whose record does not say it counts as one with this host.
    #[schema(example = "app.example.com")]
    pub(super) host: Option<String>,
    /// How the session began: `token`, `login`, `jwt` or `delegated`.
    pub(super) source: Option<String>,
    /// A group of the subject. A subject whose groups are not known counts as a member.
    pub(super) group: Option<String>,
    /// The issuer of the identity provider, as its tokens name it. A session of an unknown provider counts as one of
    /// this provider.
    #[schema(example = "https://id.example.com")]
    pub(super) provider: Option<String>,
    /// Sessions that started before this, RFC 3339; now when left out.
    pub(super) before: Option<String>,
    /// Only count.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// What was revoked, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revocation {
    /// Whether this was a dry run: nothing has ended.
    dry_run: bool,
    /// The conditions, all of which must hold: `everybody`, or such as `policy=staff host=app.example.com`.
    conditions: String,
    /// Sessions that started before this have ended, RFC 3339.
    before: String,
    /// What a dry run counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CountView>,
    /// Where the revocation is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<InForceView>,
    /// Only where `store.wait_replicas` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<ReplicationView>,
}

/// How many sessions would end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountView {
    /// Live sessions that would end.
    pub(super) live: usize,
    /// Whether all records were read in time: then `live` is the number of sessions in the store.
    pub(super) exact: bool,
    /// Sessions among `live` that do not say one of the properties, and so count as sessions that have it.
    pub(super) assumed: usize,
    /// Records that were looked at, ended ones included.
    pub(super) looked_at: usize,
    /// Records that could not be read. They admit nobody.
    pub(super) unreadable: usize,
    /// What no count can include.
    pub(super) not_counted: &'static str,
}

impl From<MatchCount> for CountView {
    fn from(count: MatchCount) -> Self {
        Self {
            live: count.live,
            exact: count.complete && count.unreadable == 0,
            assumed: count.assumed,
            looked_at: count.looked_at,
            unreadable: count.unreadable,
            not_counted: "credentials of other issuers that no replica has seen yet: the revocation holds for them, too, but not for those of a delegated service that passes on no time of the sign-in",
        }
    }
}

/// Where a revocation is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InForceView {
    /// Whether every replica has confirmed it. `false`, too, while this one has not listened for long enough to know all.
    pub(super) everywhere: bool,
    /// The replicas that share the store, as far as this one has heard of them.
    pub(super) replicas: Vec<ReplicaView>,
    /// When a replica that has not confirmed it answers no check from what it knew before, RFC 3339. From then on it asks
    /// the store, or denies.
    pub(super) by: String,
}

/// A replica.
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
    /// It does.
    InForce,
    /// It has not said so yet: see `by`.
    Unconfirmed,
    /// Its version does not know emergency revocation: stop it.
    OldVersion,
}

/// The revocations in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revocations {
    revocations: Vec<RuleView>,
}

/// A revocation in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleView {
    /// `everybody`, or such as `policy=staff host=app.example.com`.
    pub(super) conditions: String,
    /// Sessions that started before this have ended, RFC 3339.
    pub(super) before: String,
}

impl RevokeMatching {
    /// Parses the conditions and the time.
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
            return Err(invalid("source: one of token, login, jwt and delegated"));
        }
        for text in [&host, &self.group, &self.provider].into_iter().flatten() {
            let fits = (1..=MAX_CONDITION_BYTES).contains(&text.len());
            if !fits || text.chars().any(char::is_control) {
                return Err(invalid(
                    "host, group, provider: 1 to 512 bytes without control characters",
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
        if conditions.is_everybody() != self.everybody {
            return Err(invalid(
                "name a condition (policy, host, source, group, provider), or set everybody; not both",
            ));
        }
        let before = self.before.map(|text| {
            let time = humantime::parse_rfc3339_weak(&text).ok();
            // A time to come would end sign-ins that have not happened yet.
            let time = time.map(Timestamp::from).filter(|time| *time <= now);
            time.ok_or_else(|| invalid("before: a time that is past, such as 2026-11-23T09:30:00Z"))
        });
        Ok((conditions, before.transpose()?))
    }
}

impl Admin {
    /// Counts the sessions that would end.
    pub(super) async fn count_matching(
        &self,
        conditions: &RevocationConditions,
        before: Option<Timestamp>,
    ) -> Result<(RevocationRule, MatchCount), ApiError> {
        let rule = RevocationRule {
            conditions: conditions.clone(),
            before: before.unwrap_or_else(|| self.lifecycle.clock.now()),
        };
        let count = self.lifecycle.count_matches(&rule, COUNT_TIMEOUT).await?;
        Ok((rule, count))
    }

    /// Revokes, and waits a moment for the replicas.
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
            ApiError::TooMany(format!(
                "there are {MAX_REVOCATION_RULES} revocations in force; `everybody` takes the place of all of them"
            ))
        })?;
        let waiting = async {
            loop {
                let view = self.in_force(&revoked);
                if view.everywhere {
                    return view;
                }
                tokio::time::sleep(CONFIRMATION.1).await;
            }
        };
        let waited = tokio::time::timeout(CONFIRMATION.0, waiting).await;
        let in_force = waited.unwrap_or_else(|_| self.in_force(&revoked));
        Ok((revoked, in_force))
    }

    /// Which replicas have confirmed it by now.
    fn in_force(&self, revoked: &EmergencyRevocation) -> InForceView {
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
        // The embedded store has no other replica, and no changes.
        let knows_all = revoked.change.is_none() || self.ops.replicas.knows_all();
        InForceView {
            everywhere: knows_all && states.all(|state| state == Confirmation::InForce),
            replicas,
            by: revoked.in_force_by.to_string(),
        }
    }

    /// The revocations in force.
    pub(super) fn rules(&self) -> Vec<RuleView> {
        let rules = self.lifecycle.not_before.rules();
        let views = rules.iter().map(|rule| RuleView {
            conditions: rule.conditions.to_string(),
            before: rule.before.to_string(),
        });
        views.collect()
    }
}

/// Ends all sessions that meet conditions and started before a time, on every replica, credentials that no replica has seen
/// included; or counts them. Later sign-ins are not affected. The sessions themselves are ended in the background.
#[utoipa::path(
    post,
    path = "/api/v1/revocations",
    tag = "revocations",
    security(("token" = [])),
    request_body = RevokeMatching,
    responses(
        (status = 200, description = "in force on every replica; or a dry run", body = Revocation),
        (status = 202, description = "in force here; some replicas, or replicas of the store, have not confirmed it", body = Revocation),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 403, description = "no role of the cluster allows it", body = Problem),
        (status = 409, description = "there are too many revocations in force", body = Problem),
        (status = 503, description = "it may not be in force; repeating this is safe", body = Problem),
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
        .may(if dry_run { Verb::List } else { Verb::Delete }, None)
        .await?;
    let (conditions, before) = request.parse(admin.lifecycle.clock.now())?;
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

/// Lists the revocations in force, as this replica knows them. One is forgotten when no older session can live.
#[utoipa::path(
    get,
    path = "/api/v1/revocations",
    tag = "revocations",
    security(("token" = [])),
    responses(
        (status = 200, body = Revocations),
        (status = 401, body = Problem),
        (status = 403, description = "no role of the cluster allows it", body = Problem),
    ),
)]
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Revocations>, ApiError> {
    caller.may(Verb::List, None).await?;
    let revocations = admin.rules();
    Ok(Json(Revocations { revocations }))
}
