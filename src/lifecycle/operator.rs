//! Sessions of operators in the console.

use super::start::{StartError, start_time};
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::session::{
    Attributes, Binding, NewSession, PolicyName, Session, SessionId, Subject, Timestamp, Verdict,
    decide,
};
use crate::store::{EndOutcome, EndRequest, StoreError, Touch};

/// The maximum number of times that a session is loaded. It is loaded again if another replica uses the session
/// before this replica can end it.
const MAX_LOAD_ATTEMPTS: usize = 3;

impl Lifecycle {
    /// Starts the session `id` of an operator. `attributes` contain the operator's name. `authenticated` is the time
    /// of the authentication, if the identity provider sent it. The limits of the session then count from that time.
    ///
    /// # Errors
    /// [`StartError`] if no session was started. After a store error, the store may contain the session nevertheless;
    /// the session then ends at its idle limit.
    pub async fn start_operator_session(
        &self,
        id: SessionId,
        attributes: Attributes,
        authenticated: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<Session, StartError> {
        let (this, actor) = (self.clone(), actor.clone());
        run_detached(async move {
            let subject = Subject::operators();
            let not_before = this.parts.stores.cut_offs.cut_off(&subject).await?;
            let new = NewSession {
                subject,
                attributes,
                policy: PolicyName::console(),
                remembered: false,
                binding: Binding::default(),
            };
            let limits = this.parts.policies.console().limits;
            let now = start_time(this.parts.clock.now(), not_before);
            let started = authenticated.map_or(now, |at| at.min(now));
            let session = Session::adopt(new, &limits, this.parts.end_retention, started, now);
            if authenticated.is_some()
                && (now >= session.deadline
                    || this.is_revoked_sign_in(&session, not_before).await?)
            {
                return Err(StartError::TooOld);
            }
            this.store_new_session(id, &session).await?;
            this.record_start(id, &session, &actor);
            Ok(session)
        })
        .await
    }

    /// Returns the live session of an operator, and records the request as activity. Returns `None` if the session
    /// has ended or is not an operator's. The call always asks the store, so that a session end on another replica
    /// takes effect at once.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn use_operator_session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        for _ in 0..MAX_LOAD_ATTEMPTS {
            let session = self.parts.stores.sessions.load(id).await?;
            let Some(mut session) = session.filter(Session::is_operator) else {
                return Ok(None);
            };
            // Read the clock after the record, so that a limit that was reached during the load applies.
            let now = self.parts.clock.now();
            let console = self.parts.policies.console();
            let limits = &console.limits;
            let ending = if self.is_revoked(&session) {
                Some(EndRequest::revoked(now))
            } else {
                match decide(Some(&session), limits, limits, now) {
                    Verdict::Allow => None,
                    Verdict::Deny(reason) => {
                        let Some(ending) = EndRequest::for_denial(&session, reason, now) else {
                            return Ok(None);
                        };
                        Some(ending)
                    }
                }
            };
            let Some(ending) = ending else {
                let touch = Touch::new(&session, limits, console.touch_interval, now);
                // The session stays live even if the touch fails; the store counts failed touches.
                let _ = self.parts.stores.sessions.touch(id, touch).await;
                session.touch(now);
                return Ok(Some(session));
            };
            let actor = Actor::of_end(ending.reason, &session);
            if !matches!(self.end(id, ending, &actor).await?, EndOutcome::Touched(_)) {
                return Ok(None);
            }
        }
        Err(StoreError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::jwt::LogoutTarget;
    use crate::lifecycle::SignIn;
    use crate::policy::Client;
    use crate::session::EndReason;
    use crate::testing::{MINUTE, TestService, policy_name};

    #[tokio::test]
    async fn no_source_can_start_a_session_with_the_operator_subject() {
        let bench = TestService::new();
        let result = bench
            .lifecycle
            .start(SignIn {
                subject: Subject::operators(),
                attributes: Attributes::default(),
                policy: policy_name("default"),
                remember: false,
                client: Client::default(),
                authenticated: None,
                host: None,
                usable_at: None,
                refresh: None,
                actor: Actor::CURFEW,
            })
            .await;
        assert!(matches!(result, Err(StartError::ReservedSubject)));
        let adoption = crate::lifecycle::Adoption {
            source: "jwt https://id.example.com".to_owned(),
            subject: Subject::operators(),
            attributes: Attributes::default(),
            policy: policy_name("default"),
            started: bench.parts.clock.now(),
            expires: bench.parts.clock.now(),
            client: Client::default(),
        };
        let id = SessionId::from_bytes([7; 16]);
        let result = bench.lifecycle.adopt(id, adoption).await;
        assert!(matches!(
            result,
            Err(crate::lifecycle::AdoptionError::ReservedSubject)
        ));
        assert_eq!(bench.store.memory.len(), 0);
    }

    /// A client with the session ID of a user's session is not an operator.
    #[tokio::test]
    async fn a_users_session_gives_no_access_to_the_console() {
        let bench = TestService::new();
        let started = bench.sign_in("default").await;
        assert_eq!(
            bench
                .lifecycle
                .use_operator_session(started.id)
                .await
                .unwrap(),
            None
        );
        let live = bench.load_record(started.id).await;
        assert_eq!(live.state, crate::session::State::Live);
    }

    /// The identity provider reports the logout of an operator.
    #[tokio::test]
    async fn a_logout_at_the_provider_ends_an_operators_session() {
        let bench = TestService::new();
        let lifecycle = &bench.lifecycle;
        let name = Subject::of_provider(SessionId::from_bytes([9; 16]));
        let signed_in = bench.parts.clock.now();
        let start = async |byte: u8| {
            let attributes = Attributes::from_sorted([
                (Attributes::OPERATOR, ["provider:main:alice"]),
                (Attributes::PROVIDER, [name.as_str()]),
            ]);
            let id = SessionId::from_bytes([byte; 16]);
            let attributes = attributes.unwrap();
            let started =
                lifecycle.start_operator_session(id, attributes, Some(signed_in), &Actor::CURFEW);
            started.await.map(|_| id)
        };
        let id = start(1).await.unwrap();
        bench.set_time_after_start(MINUTE);
        assert!(lifecycle.use_operator_session(id).await.unwrap().is_some());
        let target = LogoutTarget {
            name: name.clone(),
            is_single_session: true,
            subject: None,
        };
        let actor = Actor::provider("https://id.example.com", None);
        let now = bench.parts.clock.now();
        lifecycle
            .end_provider_sessions(&target, now, &actor)
            .await
            .unwrap();
        assert_eq!(lifecycle.use_operator_session(id).await.unwrap(), None);
        // The earlier sign-in cannot start a session again.
        assert!(matches!(start(2).await, Err(StartError::TooOld)));
    }

    #[tokio::test]
    async fn all_operators_are_signed_out_together_and_can_sign_in_again() {
        let bench = TestService::new();
        let (one, two) = (
            SessionId::from_bytes([1; 16]),
            SessionId::from_bytes([2; 16]),
        );
        let lifecycle = &bench.lifecycle;
        let start = async |id| {
            let attributes =
                Attributes::from_sorted([(Attributes::OPERATOR, ["token:ops"])]).unwrap();
            lifecycle
                .start_operator_session(id, attributes, None, &Actor::CURFEW)
                .await
                .unwrap()
        };
        let session = start(one).await;
        assert_eq!(session.user_id(), "token:ops");
        assert!(lifecycle.use_operator_session(one).await.unwrap().is_some());
        lifecycle
            .revoke_all(&Subject::operators(), None, &Actor::CURFEW)
            .await
            .unwrap();
        assert_eq!(lifecycle.use_operator_session(one).await.unwrap(), None);
        assert!(matches!(
            bench.load_record(one).await.state,
            crate::session::State::Ended(end) if end.reason == EndReason::Revoked
        ));
        start(two).await;
        assert!(lifecycle.use_operator_session(two).await.unwrap().is_some());
    }
}
