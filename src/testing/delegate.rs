//! A fake authorization service with configurable responses.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use parking_lot::Mutex;

use crate::credential::delegated::{DelegatedService, SessionKey};
use crate::delegate::DelegateSettings;
use crate::policy::MaxAge;

/// The behaviour of the service for a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The service responds with this status, these headers and this body.
    Respond(u16, Vec<(&'static str, String)>, &'static str),
    Never,
}

impl Answer {
    /// Creates a response that allows `alice`, with additional headers.
    pub(crate) fn allow(header_lines: &[(&'static str, &str)]) -> Self {
        let user = ("x-auth-request-user", "alice");
        let header_lines = [user].into_iter().chain(header_lines.iter().copied());
        let header_lines = header_lines.map(|(name, value)| (name, value.to_owned()));
        Self::Respond(202, header_lines.collect(), "")
    }

    pub(crate) fn deny(status: u16, header_lines: &[(&'static str, &str)]) -> Self {
        let header_lines = header_lines
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Self::Respond(status, header_lines.collect(), "denied by the service")
    }
}

#[derive(Clone)]
pub(crate) struct FakeService {
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<HeaderMap>>>,
    address: std::net::SocketAddr,
}

impl FakeService {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            answer: Arc::new(Mutex::new(Answer::allow(&[]))),
            requests: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(answer).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        service
    }

    pub(crate) fn set_answer(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    /// Returns the headers of all requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut self.requests.lock())
    }

    /// Returns the settings for oauth2-proxy, changed by `change`.
    pub(crate) fn settings(&self, change: impl FnOnce(&mut DelegatedService)) -> DelegateSettings {
        let name = HeaderName::from_static;
        let mut service = DelegatedService {
            name: "oauth2-proxy".to_owned(),
            key: SessionKey::Cookie {
                name: "_oauth2_proxy".to_owned(),
                delimiter: Some('|'),
            },
            user: name("x-auth-request-user"),
            groups: Some(name("x-auth-request-groups")),
            groups_separator: ',',
            email: Some(name("x-auth-request-email")),
            display_name: None,
            token: Some(name("x-token")),
            auth_time: None,
            max_age: MaxAge::Any,
            forwarded_headers: Vec::new(),
            passed_headers: vec![name("x-auth-request-access-token")],
            lifetime: Duration::from_secs(7 * 86_400),
            cleared_cookie: Some("_oauth2_proxy=; Max-Age=0".parse().unwrap()),
        };
        change(&mut service);
        DelegateSettings {
            service,
            url: format!("http://{}/oauth2/auth", self.address)
                .parse()
                .unwrap(),
            authorities: None,
            timeout: Duration::from_secs(5),
            hosts: Vec::new(),
            policy: None,
        }
    }
}

async fn answer(State(service): State<FakeService>, request: Request) -> Response {
    service.requests.lock().push(request.headers().clone());
    let answer = service.answer.lock().clone();
    match answer {
        Answer::Respond(status, header_lines, body) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in header_lines {
                let name = HeaderName::from_static(name);
                if name == "content-type" {
                    response.headers_mut().remove(&name);
                }
                response.headers_mut().append(name, value.parse().unwrap());
            }
            response
        }
        Answer::Never => std::future::pending().await,
    }
}
