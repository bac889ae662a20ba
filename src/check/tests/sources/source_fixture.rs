//! A person who signs in with one of the sources.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::super::headers;
use super::super::jwt::seconds;
use crate::actor::Actor;
use crate::check::{CheckRequest, Checker, ClientAddress, Original, OriginalUrl, Outcome};
use crate::credential::JwtLocations;
use crate::delegate::Delegate;
use crate::lifecycle::{SignIn, StartError};
use crate::policy::{Client, Contract, Policy, Rules};
use crate::session::{Attributes, DenyReason, SessionId, Subject, Verdict};
use crate::testing::delegate::{Answer, FakeService};
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, jwt_source};
use crate::testing::{START, TestService, policy_name};

/// The client address of the person's requests.
const HOME_ADDRESS: &str = "192.0.2.7";

/// A kind of source. The kind determines the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// Tokens of Curfew: an application signs the person in through the admin API.
    Token,
    /// Sign-in with an identity provider through Curfew.
    Login,
    /// A JSON Web Token with `auth_time`.
    Jwt,
    /// A JSON Web Token without `auth_time`, accepted with `accept_iat`.
    JwtByIat,
    /// A delegated service that sends the time of the authentication.
    DelegatedWithTime,
    /// A delegated service that does not send the time of the authentication.
    DelegatedWithoutTime,
}

impl SourceKind {
    pub(super) const ALL: [Self; 6] = [
        Self::Token,
        Self::Login,
        Self::Jwt,
        Self::JwtByIat,
        Self::DelegatedWithTime,
        Self::DelegatedWithoutTime,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Token => "`token`",
            Self::Login => "`login`",
            Self::Jwt => "`jwt`",
            Self::JwtByIat => "`jwt` with `accept_iat`",
            Self::DelegatedWithTime => "`delegated` with the time of the sign-in",
            Self::DelegatedWithoutTime => "`delegated` without it",
        }
    }

    pub(super) const fn is_issued_by_curfew(self) -> bool {
        matches!(self, Self::Token | Self::Login)
    }

    /// Returns the name of the source in the session record.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "login",
            Self::Jwt | Self::JwtByIat => "jwt",
            Self::DelegatedWithTime | Self::DelegatedWithoutTime => "delegated",
        }
    }
}

/// One sign-in of the person.
pub(super) struct SignedIn {
    number: u8,
    authenticated_at: Duration,
    /// The token, if Curfew issued it.
    own_token: Option<String>,
}

/// A checker with one source, and a person `alice` who signs in with this source.
pub(super) struct SourceFixture {
    pub(super) kind: SourceKind,
    pub(super) bench: TestService,
    pub(super) checker: Checker,
    pub(super) service: FakeService,
    /// The groups of `alice`; `None` if the source does not send them.
    pub(super) groups: Option<Vec<&'static str>>,
    key: SigningKey,
}

impl SourceFixture {
    pub(super) async fn new(kind: SourceKind) -> Self {
        Self::with(kind, |_| {}, Rules::default()).await
    }

    /// Creates a fixture with a changed default policy and these rules.
    pub(super) async fn with(
        kind: SourceKind,
        change: impl FnOnce(&mut Policy),
        rules: Rules,
    ) -> Self {
        let (mut bench, service) = (TestService::new(), FakeService::start().await);
        let policies = bench.parts.policies.iter();
        let mut policies: BTreeMap<_, _> = policies
            .map(|(name, policy)| (name.clone(), policy.clone()))
            .collect();
        change(policies.get_mut("default").unwrap());
        bench.set_policies(policies);
        let key = SigningKey::ed25519("a");
        let mut checker = bench.checker(rules, "session");
        match kind {
            SourceKind::Token | SourceKind::Login => {}
            SourceKind::Jwt | SourceKind::JwtByIat => {
                checker.sources.extractor.jwt = Some(JwtLocations {
                    cookie: None,
                    bearer: true,
                });
                let mut source = jwt_source(&[&key], None);
                source.issuer.accepts_iat = kind == SourceKind::JwtByIat;
                checker.sources.jwt.push(source);
            }
            SourceKind::DelegatedWithTime | SourceKind::DelegatedWithoutTime => {
                let metrics = std::sync::Arc::clone(&bench.parts.metrics);
                let settings = service.settings(|_| {});
                let delegate = Delegate::new(settings, metrics).unwrap();
                checker.sources.delegates.push(delegate);
            }
        }
        Self {
            kind,
            bench,
            checker,
            service,
            groups: Some(Vec::new()),
            key,
        }
    }

    /// Changes the default policy.
    pub(super) fn change_policy(&mut self, change: impl FnOnce(&mut Policy)) {
        let mut policies: BTreeMap<_, _> = self
            .bench
            .parts
            .policies
            .iter()
            .map(|(name, policy)| (name.clone(), policy.clone()))
            .collect();
        change(policies.get_mut("default").unwrap());
        self.bench.set_policies(policies);
        self.bench.update(&mut self.checker, Rules::default());
    }

    /// Returns the claims of a token that is issued at `now`.
    fn claims(&self, signed_in: &SignedIn, now: Duration) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": format!("s{}", signed_in.number),
            "iat": seconds(now), "exp": seconds(now + Duration::from_secs(60)),
        });
        if self.kind != SourceKind::JwtByIat {
            claims["auth_time"] = seconds(signed_in.authenticated_at).into();
        }
        match &self.groups {
            Some(groups) => claims["groups"] = json!(groups),
            None => claims["_claim_names"] = json!({ "groups": "src1" }),
        }
        claims
    }

    fn attributes(&self, signed_in: &SignedIn) -> Attributes {
        let mut attributes = BTreeMap::new();
        match &self.groups {
            Some(groups) if !groups.is_empty() => {
                let groups = groups.iter().map(|group| (*group).to_owned());
                attributes.insert(Attributes::GROUPS.to_owned(), groups.collect());
            }
            Some(_) => {}
            None => {
                let mark = vec![Attributes::UNKNOWN.to_owned()];
                attributes.insert(Attributes::GROUPS_STATE.to_owned(), mark);
            }
        }
        if self.kind == SourceKind::Login {
            let issuer = crate::testing::jwt::issuer();
            let names = [
                issuer.provider_session_subject(&format!("s{}", signed_in.number)),
                issuer.provider_user_subject("alice"),
            ];
            let names = names.iter().map(Subject::to_string).collect();
            attributes.insert(Attributes::PROVIDER.to_owned(), names);
            attributes.insert(Attributes::SOURCE.to_owned(), vec!["login".to_owned()]);
        }
        Attributes::new(attributes).unwrap()
    }

    /// Signs the person in, with an authentication at the time `at`. If Curfew issues the token, it does so at the time
    /// `recorded_at`, and may deny the sign-in.
    pub(super) async fn sign_in_late(
        &self,
        number: u8,
        at: Duration,
        recorded_at: Duration,
    ) -> Result<SignedIn, StartError> {
        self.bench.set_time_after_start(recorded_at);
        let mut signed_in = SignedIn {
            number,
            authenticated_at: at,
            own_token: None,
        };
        if self.kind.is_issued_by_curfew() {
            let started = self.checker.lifecycle.start(SignIn {
                usable_at: None,
                subject: Subject::new("alice").unwrap(),
                attributes: self.attributes(&signed_in),
                policy: policy_name("default"),
                remember: false,
                client: Client {
                    address: HOME_ADDRESS.parse().ok(),
                    user_agent: None,
                },
                authenticated: Some(START.plus(at)),
                host: None,
                refresh: None,
                actor: Actor::CURFEW,
            });
            signed_in.own_token = Some(started.await?.token.expose());
        }
        Ok(signed_in)
    }

    pub(super) async fn sign_in(&self, number: u8, at: Duration) -> SignedIn {
        self.sign_in_late(number, at, at).await.unwrap()
    }

    /// Returns the headers with the credential at the time `now`. A source that refreshes credentials has just
    /// refreshed this one.
    fn credential(&self, signed_in: &SignedIn, now: Duration) -> HeaderMap {
        if let Some(token) = &signed_in.own_token {
            return headers(&[("cookie", &format!("session={token}"))]);
        }
        let claims = self.claims(signed_in, now);
        if matches!(self.kind, SourceKind::Jwt | SourceKind::JwtByIat) {
            let token = self.key.token(&claims);
            return headers(&[("authorization", &format!("Bearer {token}"))]);
        }
        let mut header_lines = Vec::new();
        // Curfew does not verify this token, because it trusts the service that sends it.
        let encoded = URL_SAFE_NO_PAD.encode(claims.to_string());
        let token = format!("e30.{encoded}.c2ln");
        if self.kind == SourceKind::DelegatedWithTime {
            header_lines.push(("x-token", &*token));
        }
        let groups = self.groups.clone().unwrap_or_default().join(",");
        header_lines.push(("x-auth-request-groups", &*groups));
        self.service.set_answer(Answer::allow(&header_lines));
        let cookie = format!("_oauth2_proxy=t{}|{}|s", signed_in.number, now.as_secs());
        headers(&[("cookie", &cookie)])
    }

    pub(super) async fn check(&self, signed_in: &SignedIn, after: Duration) -> Outcome {
        self.check_with(signed_in, after, &RequestOptions::default())
            .await
    }

    pub(super) async fn verdict(&self, signed_in: &SignedIn, after: Duration) -> Verdict {
        self.check(signed_in, after).await.verdict
    }

    /// Checks a request while the service returns this `answer`.
    pub(super) async fn verdict_with_answer(
        &self,
        signed_in: &SignedIn,
        after: Duration,
        answer: Answer,
    ) -> Verdict {
        let headers = self.credential(signed_in, after);
        self.service.set_answer(answer);
        self.check_with_headers(headers, after, &RequestOptions::default())
            .await
            .verdict
    }

    pub(super) async fn check_with(
        &self,
        signed_in: &SignedIn,
        after: Duration,
        options: &RequestOptions,
    ) -> Outcome {
        self.check_with_headers(self.credential(signed_in, after), after, options)
            .await
    }

    async fn check_with_headers(
        &self,
        mut headers: HeaderMap,
        after: Duration,
        options: &RequestOptions,
    ) -> Outcome {
        self.bench.set_time_after_start(after);
        if options.passive {
            headers.insert("x-session-passive", "1".parse().unwrap());
        }
        let url = format!("https://app.example.com{}", options.path);
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: options.policy,
            original: Ok(Original::new(
                &Method::POST,
                OriginalUrl::parse(url.as_bytes()).unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InField(options.from.parse().ok()),
            peer: None,
        };
        self.checker.check(&request).await
    }

    /// Sends an allowed request, and returns its session ID.
    pub(super) async fn live_session_id(&self, signed_in: &SignedIn, after: Duration) -> SessionId {
        let outcome = self.check(signed_in, after).await;
        assert_eq!(outcome.verdict, Verdict::Allow, "{:?}", self.kind);
        outcome.session.unwrap().0
    }
}

/// The properties of a request that tests change.
pub(super) struct RequestOptions {
    pub(super) policy: Option<&'static str>,
    pub(super) path: &'static str,
    pub(super) from: &'static str,
    pub(super) passive: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            policy: None,
            path: "/",
            from: HOME_ADDRESS,
            passive: false,
        }
    }
}

pub(super) const fn denied(reason: DenyReason) -> Verdict {
    Verdict::Deny(reason)
}
