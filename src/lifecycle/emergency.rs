//! Emergency revocation: a revocation rule ends all sessions that match its conditions.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::Lifecycle;
use crate::actor::Actor;
use crate::clock::Stopwatch;
use crate::policy::OnStoreFailure;
use crate::revocation::{Match, RevocationConditions, RevocationRule};
use crate::session::{EndReason, Session, State, Timestamp};
use crate::store::cached::LEASE;
use crate::store::{AddRuleOutcome, Batch, EndOutcome, EndRequest, Replication, StoreError};
use crate::telemetry::audit;

/// The maximum number of sessions that are ended concurrently.
const MAX_CONCURRENT_ENDS: usize = 64;
/// The assumed maximum time between adding a revocation rule and reading the sessions. If a check has revoked a
/// matching session within this time, the revocation rule counts as the cause.
const RULE_WALK_MARGIN: Duration = Duration::from_secs(10);

/// A revocation rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmergencyRevocation {
    /// The conditions, and the time before which a session must have started.
    pub rule: RevocationRule,
    /// The sequence number of the revocation rule in the log of changes. A replica that has read the log up to this
    /// number has the revocation rule. `None` if there is only one replica.
    pub change: Option<u64>,
    /// How many Redis replicas have the revocation rule.
    pub replication: Replication,
    /// From this time on, every replica denies the sessions that match. This includes a replica that could not read
    /// the revocation rule: it can no longer use session data from before the revocation.
    pub in_force_by: Timestamp,
}

/// The result of counting the sessions that match a revocation rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCount {
    /// The number of live sessions that would end.
    pub live: usize,
    /// The number of these sessions whose record lacks a property that the conditions compare. Such sessions count as
    /// matches.
    pub assumed: usize,
    /// The number of records that were read, including tombstones (records of ended sessions).
    pub checked: usize,
    /// The number of records that could not be read. No check allows the sessions of these records.
    pub unreadable: usize,
    /// Whether the whole store was read in time.
    pub complete: bool,
}

impl Lifecycle {
    /// Counts the live sessions that a revocation rule would end. Stops after the duration `time_limit`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed before the count was complete.
    pub async fn count_matches(
        &self,
        rule: &RevocationRule,
        time_limit: Duration,
    ) -> Result<MatchCount, StoreError> {
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        // When this future returns, it drops the receiver, and then the walk through the store stops.
        let counting = async move {
            let (mut count, stopwatch) = (MatchCount::default(), Stopwatch::start());
            while let Some(batch) = batches.recv().await {
                count.checked += batch.sessions.len() + batch.unreadable;
                count.unreadable += batch.unreadable;
                for (_, session) in &batch.sessions {
                    let conditions_match = rule.conditions.compare(session);
                    if conditions_match != Match::No
                        && session.started < rule.before
                        && self.is_usable(session)
                    {
                        count.live += 1;
                        count.assumed += usize::from(conditions_match == Match::Assumed);
                    }
                }
                if stopwatch.seconds() > time_limit.as_secs_f64() {
                    return count;
                }
            }
            MatchCount {
                complete: true,
                ..count
            }
        };
        let (count, walk_result) = tokio::join!(counting, self.parts.stores.walk.walk(sender));
        walk_result.map(|()| count)
    }

    /// Whether checks could still allow a request of this session.
    fn is_usable(&self, session: &Session) -> bool {
        session.state == State::Live
            && self.parts.clock.now() < self.parts.policies.deadline(session)
            && !self.is_revoked(session)
    }

    /// Ends all sessions that match `conditions` and started before the time `before` (default: now). Checks deny
    /// these sessions at once. A background task then ends each session, so that its end is published. Returns `None`
    /// if there are too many revocation rules.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed. The revocation rule may be stored nevertheless. Repeating the call is safe.
    pub async fn revoke_matching(
        &self,
        conditions: RevocationConditions,
        before: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<Option<EmergencyRevocation>, StoreError> {
        let (this, actor) = (self.clone(), actor.clone());
        super::run_detached(async move {
            let now = this.parts.clock.now();
            let rule = RevocationRule {
                conditions,
                before: before.unwrap_or(now).min(now),
            };
            let forget_before = now.minus(this.parts.policies.longest_absolute_limit());
            let AddRuleOutcome::Added {
                change,
                replication,
            } = this
                .parts
                .stores
                .cut_offs
                .add_rule(&rule, forget_before)
                .await?
            else {
                return Ok(None);
            };
            this.count_unconfirmed(replication);
            audit::revocation_declared(&rule, &actor);
            let (lifecycle, rule_to_apply) = (this.clone(), rule.clone());
            this.parts
                .tasks
                .spawn(async move { lifecycle.end_matches(&rule_to_apply, &actor).await });
            let in_force_by = now.plus(LEASE).plus(this.longest_grace_period());
            Ok(Some(EmergencyRevocation {
                rule,
                change,
                replication,
                in_force_by,
            }))
        })
        .await
    }

    /// Returns the longest time that a replica uses last known sessions without the store.
    fn longest_grace_period(&self) -> Duration {
        let grace_periods =
            self.parts
                .policies
                .iter()
                .map(|(_, policy)| match policy.on_store_failure {
                    OnStoreFailure::Deny => Duration::ZERO,
                    OnStoreFailure::Known { grace } => grace,
                });
        grace_periods.max().unwrap_or_default()
    }

    /// Requires a new authentication from the person whose session a revocation rule has ended, because its conditions
    /// may not match the next sign-in. Conditions that match everybody need no such requirement.
    async fn require_authentication_for_rule(
        &self,
        rule: &RevocationRule,
        tombstone: &Session,
        actor: &Actor,
    ) {
        if rule.conditions.match_everybody() {
            return;
        }
        if !self.accepts_unauthenticated_cut_off() {
            tracing::warn!(
                "could not require a new authentication after a revocation: the table of cut-offs is half full"
            );
            return;
        }
        let required = self.require_new_authentication(tombstone, rule.before, actor);
        if let Err(error) = required.await {
            tracing::warn!(%error, "could not require a new authentication after a revocation");
        }
    }

    /// Ends the sessions that match a revocation rule. Checks deny these sessions already, but without this function
    /// the end of an unused session would not be published.
    async fn end_matches(&self, rule: &RevocationRule, actor: &Actor) {
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let revoked_since = self.parts.clock.now().minus(RULE_WALK_MARGIN);
        let ending = async {
            let mut ended = 0;
            while let Some(batch) = batches.recv().await {
                let (live, tombstones): (Vec<_>, Vec<_>) = batch
                    .sessions
                    .into_iter()
                    .filter(|(_, session)| rule.ends(session))
                    .partition(|(_, session)| session.state == State::Live);
                for (_, tombstone) in &tombstones {
                    // If the end is recent, a check has ended this session because of the revocation rule.
                    if is_revoked_since(tombstone, revoked_since) {
                        self.require_authentication_for_rule(rule, tombstone, actor)
                            .await;
                    }
                }
                for chunk in live.chunks(MAX_CONCURRENT_ENDS) {
                    let ending = EndRequest::revoked(self.parts.clock.now());
                    let ends = chunk.iter().map(|(id, _)| self.end(*id, ending, actor));
                    for outcome in join_all(ends).await {
                        match outcome {
                            Ok(EndOutcome::Ended(tombstone)) => {
                                ended += 1;
                                self.require_authentication_for_rule(rule, &tombstone, actor)
                                    .await;
                            }
                            Ok(EndOutcome::AlreadyEnded(tombstone))
                                if is_revoked_since(&tombstone, revoked_since) =>
                            {
                                self.require_authentication_for_rule(rule, &tombstone, actor)
                                    .await;
                            }
                            _ => {}
                        }
                    }
                }
            }
            ended
        };
        let (ended, walk_result) = tokio::join!(ending, self.parts.stores.walk.walk(sender));
        if let Err(error) = &walk_result {
            tracing::warn!(%error, "could not end some of the revoked sessions; checks still deny requests with these sessions");
        }
        audit::revocation_finished(rule, ended, walk_result.is_ok(), actor);
    }
}

/// Whether a session was revoked at the time `since` or later.
fn is_revoked_since(session: &Session, since: Timestamp) -> bool {
    matches!(session.state, State::Ended(end) if end.reason == EndReason::Revoked && end.at >= since)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::{CheckRequest, ClientAddress, Original, OriginalUrl};
    use crate::credential::JwtLocations;
    use crate::policy::{Contract, Rules};
    use crate::session::{DenyReason, Verdict};
    use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, jwt_source};
    use crate::testing::{MINUTE, SECOND, START, TestService};

    fn conditions_for_policy(name: &str) -> RevocationConditions {
        RevocationConditions {
            policy: Some(name.to_owned()),
            ..RevocationConditions::default()
        }
    }

    #[tokio::test]
    async fn a_dry_run_counts_the_sessions_that_the_revocation_ends() {
        let bench = TestService::new();
        for name in ["default", "default", "strict"] {
            bench.sign_in(name).await;
        }
        let ended = bench.sign_in("default").await;
        bench
            .lifecycle
            .revoke(ended.id, &Actor::CURFEW)
            .await
            .unwrap();
        bench.set_time_after_start(SECOND);
        let rule = RevocationRule {
            conditions: conditions_for_policy("default"),
            before: START.plus(SECOND),
        };
        let count = bench.lifecycle.count_matches(&rule, MINUTE).await.unwrap();
        let expected = MatchCount {
            live: 2,
            checked: 4,
            complete: true,
            ..MatchCount::default()
        };
        assert_eq!(count, expected);
        let earlier_rule = RevocationRule {
            before: START,
            ..rule.clone()
        };
        let count = bench
            .lifecycle
            .count_matches(&earlier_rule, MINUTE)
            .await
            .unwrap();
        assert_eq!(
            count.live, 0,
            "a rule for earlier sessions must match no session"
        );
        let host_conditions = RevocationConditions {
            host: Some("app.example.com".to_owned()),
            ..RevocationConditions::default()
        };
        let host_rule = RevocationRule {
            conditions: host_conditions,
            ..rule.clone()
        };
        let count = bench
            .lifecycle
            .count_matches(&host_rule, MINUTE)
            .await
            .unwrap();
        assert_eq!((count.live, count.assumed), (3, 3));
        let revoked = bench
            .lifecycle
            .revoke_matching(conditions_for_policy("default"), None, &Actor::CURFEW)
            .await;
        let revoked = revoked.unwrap().unwrap();
        assert_eq!(revoked.rule, rule);
        // The policy `lenient` allows last known sessions for two minutes without the store.
        assert_eq!(revoked.in_force_by, START.plus(SECOND + LEASE + 2 * MINUTE));
        let count_live = async || {
            let (sender, mut batches) = mpsc::channel::<Batch>(1);
            let counting = async {
                let mut live = 0;
                while let Some(batch) = batches.recv().await {
                    let sessions = batch.sessions.iter();
                    live += sessions.filter(|(_, it)| it.state == State::Live).count();
                }
                live
            };
            tokio::join!(counting, bench.parts.stores.walk.walk(sender)).0
        };
        bench.parts.tasks.close();
        bench.parts.tasks.wait().await;
        assert_eq!(
            count_live().await,
            1,
            "the session of the other policy must be live"
        );
    }

    /// Checks a request with a JSON Web Token whose sign-in was `signed_in` seconds after the start.
    async fn check_jwt(
        checker: &crate::check::Checker,
        key: &SigningKey,
        signed_in: u64,
    ) -> Verdict {
        let auth_time = START.as_millis() / 1000 + signed_in;
        let token = key.token(&serde_json::json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": format!("s-{signed_in}"),
            "auth_time": auth_time, "iat": auth_time, "exp": auth_time + 86_400,
        }));
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(
                &http::Method::GET,
                OriginalUrl::parse(b"https://app.example.com/").unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        checker.check(&request).await.verdict
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// The sign-ins of another issuer are before or after the revocation. Curfew denies the earlier sign-ins, and
        /// allows the later sign-ins.
        #[test]
        fn only_sign_ins_before_the_revocation_are_denied(
            sign_ins in proptest::collection::vec((0_u64..20, any::<bool>()), 1..8),
            before_seconds in 0_u64..20,
            conditions_kind in 0..4,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let outcome: Result<(), TestCaseError> = runtime.block_on(async {
                let (bench, key) = (TestService::new(), SigningKey::ed25519("a"));
                let mut checker = bench.checker(Rules::default(), "session");
                checker.sources.extractor.jwt = Some(JwtLocations { cookie: None, bearer: true });
                checker.sources.jwt.push(jwt_source(&[&key], None));
                bench.set_time_after_start(20 * SECOND);
                for (signed_in, is_used) in &sign_ins {
                    if *is_used {
                        prop_assert_eq!(check_jwt(&checker, &key, *signed_in).await, Verdict::Allow);
                    }
                }
                let (conditions, match_jwts) = match conditions_kind {
                    0 => (RevocationConditions::default(), true),
                    1 => (conditions_for_policy("default"), true),
                    2 => (RevocationConditions { source: Some("jwt".to_owned()), ..Default::default() }, true),
                    _ => (RevocationConditions { provider: Some("https://other".to_owned()), ..Default::default() }, false),
                };
                let before = Some(START.plus(Duration::from_secs(before_seconds)));
                bench.lifecycle.revoke_matching(conditions, before, &Actor::CURFEW).await.unwrap().unwrap();
                for (signed_in, _) in &sign_ins {
                    let is_denied = match_jwts && *signed_in < before_seconds;
                    let expected = if is_denied { Verdict::Deny(DenyReason::Revoked) } else { Verdict::Allow };
                    prop_assert_eq!(check_jwt(&checker, &key, *signed_in).await, expected, "{}", signed_in);
                }
                Ok(())
            });
            outcome?;
        }
    }
}
