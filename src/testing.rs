//! Shared parts of unit tests: a service without listeners, with a manual clock, and with a store that counts calls
//! and can fail.

pub(crate) mod delegate;
pub(crate) mod jwt;
pub(crate) mod outputs;
pub(crate) mod provider;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use http::HeaderName;

use crate::actor::Actor;
use crate::check::{Checker, StreamRegistry};
use crate::clock::ManualClock;
use crate::contract::CookieSettings;
use crate::credential::{CredentialExtractor, KeyRing, SigningKey};
use crate::lifecycle::{LastKnownSessions, Lifecycle, LifecycleParts, SignIn, StartedSession};
use crate::live::Live;
use crate::policy::{
    ActivityKind, AddressHeader, BackgroundHeaders, Client, NamedHosts, OnStoreFailure, Policies,
    Policy, Routes, Rulebook, Rules,
};
use crate::session::{Attributes, Limits, PolicyName, Session, SessionId, Subject};
use crate::sources::Sources;
use crate::store::{SessionStore, Stores};
use crate::streams::{OpenStreams, StreamLimits};
use crate::sweeper::Sweeper;
use crate::telemetry::{Metrics, RecentEvents};

pub(crate) use curfew_core::testing::{HOUR, MINUTE, SECOND, START, policy_name, session_of};
pub(crate) use curfew_store::testing::{ProbedStore, remote};

/// A service without its listeners.
pub(crate) struct TestService {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) parts: LifecycleParts,
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<ProbedStore>,
}

impl TestService {
    /// Creates a service with three policies. `default` has an idle limit of 15 min and an absolute limit of 8 h.
    /// `strict` has limits of 5 min and 1 h, needs a sign-in in the last 30 min, and counts only navigations as
    /// activity. `lenient` is like `default`, but allows last known sessions for 2 min while the store is
    /// unavailable.
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new(START);
        let store = Arc::new(ProbedStore::new(&clock));
        let memory = Arc::clone(&store.memory);
        let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
        let default = Policy::of(Limits {
            idle: Some(15 * MINUTE),
            absolute: 8 * HOUR,
            max_auth_age: None,
        });
        let strict = Policy {
            activity: ActivityKind::Navigation,
            touch_interval: 5 * SECOND,
            ..Policy::of(Limits {
                idle: Some(5 * MINUTE),
                absolute: HOUR,
                max_auth_age: Some(30 * MINUTE),
            })
        };
        let lenient = Policy {
            on_store_failure: OnStoreFailure::Known { grace: 2 * MINUTE },
            ..default.clone()
        };
        let policies = BTreeMap::from([
            (policy_name("default"), default),
            (policy_name("strict"), strict),
            (policy_name("lenient"), lenient),
        ]);
        let metrics = Arc::new(Metrics::new().unwrap());
        let streams = OpenStreams::new(Arc::new(clock.clone()), None, Arc::clone(&metrics));
        let parts = LifecycleParts {
            stores: Stores {
                sessions: Arc::clone(&store) as _,
                ..Stores::from(memory)
            },
            clock: Arc::new(clock.clone()),
            key_ring: Arc::new(KeyRing::new(vec![key]).unwrap()),
            policies: Arc::new(Policies::new(policies, policy_name("default")).unwrap()),
            routes: Live::new(Routes::default()),
            end_retention: HOUR,
            metrics,
            tombstone_extensions: Arc::default(),
            last_known_sessions: Arc::new(LastKnownSessions::default()),
            recent_events: Arc::new(RecentEvents::default()),
            streams: Arc::new(streams),
            webhook: None,
            tasks: TaskTracker::new(),
        };
        Self {
            lifecycle: Lifecycle::new(parts.clone()),
            parts,
            clock,
            store,
        }
    }

    /// Changes the dependencies of the lifecycle.
    pub(crate) fn change_parts(&mut self, change: impl FnOnce(&mut LifecycleParts)) {
        change(&mut self.parts);
        self.lifecycle = Lifecycle::new(self.parts.clone());
    }

    /// Signs `alice` in under `policy`.
    pub(crate) async fn sign_in(&self, policy: &str) -> StartedSession {
        self.sign_in_from(policy, Client::default()).await
    }

    /// Signs `alice` in from a client.
    pub(crate) async fn sign_in_from(&self, policy: &str, client: Client) -> StartedSession {
        let attributes = BTreeMap::from([
            (
                "groups".to_owned(),
                vec!["staff".to_owned(), "admin".to_owned()],
            ),
            ("email".to_owned(), vec!["alice@example.com".to_owned()]),
        ]);
        let sign_in = SignIn {
            subject: Subject::new("alice").unwrap(),
            attributes: Attributes::new(attributes).unwrap(),
            policy: policy_name(policy),
            remember: false,
            client,
            authenticated: None,
            host: None,
            usable_at: None,
            refresh: None,
            actor: Actor::CURFEW,
        };
        self.lifecycle.start(sign_in).await.unwrap()
    }

    /// Replaces the policies; one of them must be named `default`.
    pub(crate) fn set_policies(&mut self, policies: BTreeMap<PolicyName, Policy>) {
        let policies = Policies::new(policies, policy_name("default")).unwrap();
        self.change_parts(|parts| parts.policies = Arc::new(policies));
    }

    /// Runs the background tasks, and then removes expired records from the store.
    pub(crate) async fn run_background_tasks(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.store.memory.reclaim();
    }

    /// Gives a checker the current parts of this service and these rules.
    pub(crate) fn update(&self, checker: &mut Checker, rules: Rules) {
        checker.lifecycle = self.lifecycle.clone();
        checker.stores = self.parts.stores.clone();
        checker.rulebook = Arc::new(self.rulebook(rules));
    }

    /// Returns a sweeper of this service.
    pub(crate) fn sweeper(&self) -> Sweeper {
        Sweeper {
            lifecycle: self.lifecycle.clone(),
            stores: self.parts.stores.clone(),
            clock: Arc::clone(&self.parts.clock),
            policies: Arc::clone(&self.parts.policies),
        }
    }

    /// Returns a checker with these rules and this cookie name.
    pub(crate) fn checker(&self, rules: Rules, cookie: &str) -> Checker {
        Checker {
            lifecycle: self.lifecycle.clone(),
            stores: self.parts.stores.clone(),
            clock: Arc::clone(&self.parts.clock),
            metrics: Arc::clone(&self.parts.metrics),
            last_known_sessions: Arc::clone(&self.parts.last_known_sessions),
            rulebook: Arc::new(self.rulebook(rules)),
            sources: Sources {
                extractor: CredentialExtractor {
                    cookie: cookie.to_owned(),
                    bearer: true,
                    jwt: None,
                },
                key_ring: Arc::clone(&self.parts.key_ring),
                jwt: Vec::new(),
                delegates: Vec::new(),
            },
            address: AddressHeader {
                name: HeaderName::from_static("x-forwarded-for"),
                proxies: 1,
            },
            store_timeout: SECOND,
            observers: Arc::default(),
            revalidation: None,
            stream_registry: StreamRegistry {
                streams: Arc::clone(&self.parts.streams),
                limits: StreamLimits::default(),
            },
        }
    }

    /// Returns a rulebook with the current policies and these rules.
    pub(crate) fn rulebook(&self, rules: Rules) -> Rulebook {
        Rulebook {
            hosts: NamedHosts::default(),
            policies: Arc::clone(&self.parts.policies),
            rules,
            routes: Live::new(Routes::default()),
            background: BackgroundHeaders::default(),
        }
    }

    /// Returns the record of a session from the store.
    pub(crate) async fn load_record(&self, id: SessionId) -> Session {
        self.store.memory.load(id).await.unwrap().unwrap()
    }

    /// Sets the clock to the start time plus `after`.
    pub(crate) fn set_time_after_start(&self, after: Duration) {
        self.clock.set(START.plus(after));
    }
}

/// Returns the settings of the default session cookie.
pub(crate) fn cookie_settings() -> CookieSettings {
    CookieSettings {
        name: "__Host-session".to_owned(),
        domain: None,
        path: "/".to_owned(),
        secure: true,
        same_site: cookie::SameSite::Lax,
        persistent: false,
    }
}
