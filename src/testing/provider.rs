//! A fake OpenID provider over HTTP with configurable responses to refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::START;
use super::jwt::{SigningKey, issuer, key_set};
use crate::credential::jwt::Issuer;
use crate::jwks::{IssuerSettings, KeySource};
use crate::login::{Provider, ProviderSettings};
use crate::secret::Secret;

/// The OAuth client ID of Curfew.
pub(crate) const CLIENT: &str = "curfew";
/// The timeout for one request to the provider.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(700);

/// The response of one endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// This status with a JSON body.
    Json(u16, Value),
    /// This status with an HTML page.
    Page(u16),
    /// No response at all.
    Never,
}

type OnQuestion = Box<dyn Fn() + Send + Sync>;

/// A running fake provider; clones share its state.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    /// The response of the token endpoint.
    pub(crate) tokens: Arc<Mutex<Reply>>,
    /// The response of the UserInfo endpoint.
    pub(crate) user_info: Arc<Mutex<Reply>>,
    /// The refresh tokens that clients have sent.
    pub(crate) presented: Arc<Mutex<Vec<String>>>,
    /// A callback that runs during a request to the token endpoint.
    pub(crate) meanwhile: Arc<Mutex<Option<OnQuestion>>>,
    /// The response time of the token endpoint.
    pub(crate) takes: Arc<Mutex<Duration>>,
    pub(crate) key: Arc<SigningKey>,
    url: String,
}

impl FakeProvider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self {
            tokens: Arc::new(Mutex::new(Reply::Never)),
            user_info: Arc::new(Mutex::new(Reply::Never)),
            presented: Arc::default(),
            meanwhile: Arc::default(),
            takes: Arc::default(),
            key: Arc::new(SigningKey::rsa("one")),
            url,
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// The requirements for the provider's tokens.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer {
            issuer: self.url.clone(),
            audiences: vec![CLIENT.to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::RS256],
            leeway: Duration::from_secs(30),
            ..issuer()
        }
    }

    /// Curfew as a client of the provider.
    pub(crate) fn client(&self) -> Provider {
        let settings = ProviderSettings {
            issuer: IssuerSettings {
                name: "main".to_owned(),
                issuer: self.issuer(),
                keys: KeySource::File(key_set(&[&self.key])),
                policy: None,
            },
            client_id: CLIENT.to_owned(),
            client_secret: Some(Secret::new("hush".to_owned())),
            scopes: Vec::new(),
            title: "Main".to_owned(),
            authorities: None,
            timeout: TIMEOUT,
        };
        let base = "https://app.example.com/".parse().unwrap();
        Provider::new(settings, &base, "/.curfew/callback").unwrap()
    }

    /// An ID token for `alice`, with these claims added or replaced.
    pub(crate) fn id_token(&self, changes: &Value) -> String {
        let now = START.as_millis() / 1000;
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT, "sub": "alice", "iat": now, "exp": now + 36_000,
            "groups": ["staff"], "email": "alice@example.com",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    /// Makes the token endpoint respond with an access token and these members.
    pub(crate) fn grant(&self, members: Value) {
        let mut answer = json!({ "access_token": "access", "token_type": "Bearer" });
        let Value::Object(members) = members else {
            panic!("{members}");
        };
        answer.as_object_mut().unwrap().extend(members);
        self.answer(Reply::Json(200, answer));
    }

    pub(crate) fn answer(&self, reply: Reply) {
        *self.tokens.lock() = reply;
    }

    /// The refresh tokens since the last call.
    pub(crate) fn take_presented(&self) -> Vec<String> {
        std::mem::take(&mut self.presented.lock())
    }
}

async fn metadata(State(provider): State<FakeProvider>) -> Response {
    let url = |path: &str| format!("{}{path}", provider.url);
    axum::Json(json!({
        "issuer": provider.url,
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "userinfo_endpoint": url("/userinfo"),
        "jwks_uri": url("/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

async fn keys(State(provider): State<FakeProvider>) -> Response {
    axum::Json(json!({ "keys": [provider.key.jwk()] })).into_response()
}

async fn token(State(provider): State<FakeProvider>, body: Bytes) -> Response {
    let mut form = url::form_urlencoded::parse(&body);
    assert!(form.any(|pair| pair == ("grant_type".into(), "refresh_token".into())));
    let mut form = url::form_urlencoded::parse(&body);
    let presented = form.find(|(name, _)| name == "refresh_token").unwrap().1;
    provider.presented.lock().push(presented.into_owned());
    if let Some(meanwhile) = &*provider.meanwhile.lock() {
        meanwhile();
    }
    let takes = *provider.takes.lock();
    tokio::time::sleep(takes).await;
    let reply = provider.tokens.lock().clone();
    send(reply).await
}

async fn user_info(State(provider): State<FakeProvider>) -> Response {
    let reply = provider.user_info.lock().clone();
    send(reply).await
}

async fn send(reply: Reply) -> Response {
    match reply {
        Reply::Json(status, json) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(json)).into_response()
        }
        Reply::Page(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(CONTENT_TYPE, "text/html")], "<p>Sorry</p>").into_response()
        }
        Reply::Never => std::future::pending().await,
    }
}
