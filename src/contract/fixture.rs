//! The shared fixture of the contracts' tests: a check service, and one session of `alice`.

use axum::body::Body;
use axum::response::Response;
use http::Request;

use super::spoe::Agent;
use super::{CheckService, Contracts, SessionCookie, SignInRedirect};
use crate::admission::{ConcurrencyLimit, LimitKind};
use crate::contract::{ReturnHost, SignInSettings};
use crate::identity::IdentityHeaders;
use crate::live::Live;
use crate::policy::Rules;
use crate::session::{Session, SessionId};
use crate::testing::{TestService, cookie_settings};

/// The `Set-Cookie` that clears the session cookie.
pub(crate) const REMOVAL_COOKIE: &str =
    "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";

pub(crate) struct Fixture {
    pub(crate) bench: TestService,
    pub(crate) contracts: Live<Contracts>,
    pub(crate) limit: ConcurrencyLimit,
    check_service: CheckService,
    token: String,
    id: SessionId,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with_literal_headers(literal_headers: bool) -> Self {
        Self::with(|contracts| contracts.literal_headers = literal_headers).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Contracts)) -> Self {
        Self::build(Rules::default(), change).await
    }

    pub(crate) async fn with_rules(rules: Rules) -> Self {
        Self::build(rules, |_| {}).await
    }

    async fn build(rules: Rules, change: impl FnOnce(&mut Contracts)) -> Self {
        let bench = TestService::new();
        let started = bench.sign_in("default").await;
        let cookie = cookie_settings();
        let checker = bench.checker(rules, &cookie.name);
        let config = SignInSettings {
            url: "https://login.example.com/".parse().unwrap(),
            return_parameter: "rd".to_owned(),
            allowed_hosts: vec![ReturnHost::Exact("app.example.com".to_owned())],
        };
        let sign_in = SignInRedirect::new(config, true);
        let mut contracts = Contracts {
            checker,
            cookie: SessionCookie::new(cookie).unwrap(),
            sign_in: Some(sign_in),
            login: None,
            identity: IdentityHeaders::default_names(),
            assertion_signer: None,
            clear_site_data: None,
            literal_headers: false,
            stream_deadline: false,
        };
        change(&mut contracts);
        let contracts = Live::new(contracts);
        let usage_metrics = bench.parts.metrics.requests("check");
        let limit = ConcurrencyLimit::new("check", LimitKind::Requests, 2, usage_metrics);
        Self {
            bench,
            check_service: CheckService::new(contracts.clone(), limit.clone()),
            limit,
            contracts,
            token: started.token.expose(),
            id: started.id,
        }
    }

    /// Returns a SPOE agent that shares the concurrency limit of the check service.
    pub(crate) fn agent(&self) -> Agent {
        Agent::new(self.contracts.clone(), self.limit.clone())
    }

    /// Returns the session's record from the store.
    pub(crate) async fn stored(&self) -> Session {
        self.bench.load_record(self.id).await
    }

    pub(crate) const fn session_id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn cookie(&self) -> String {
        format!("__Host-session={}", self.token)
    }

    pub(crate) async fn send_request(
        &self,
        method: &str,
        path: &str,
        header_lines: &[(&str, &str)],
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in header_lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.check_service.answer(request, None).await
    }
}

/// Returns the status, the reason, the challenge and the `Set-Cookie` value of a denial.
pub(crate) fn denial(response: &Response) -> (u16, &str, Option<&str>, Option<&str>) {
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap())
    };
    (
        response.status().as_u16(),
        header("x-session-reason").unwrap_or_default(),
        header("www-authenticate"),
        header("set-cookie"),
    )
}

pub(crate) async fn read_body(response: Response) -> Vec<u8> {
    let body = axum::body::to_bytes(response.into_body(), 4096).await;
    body.unwrap().to_vec()
}
