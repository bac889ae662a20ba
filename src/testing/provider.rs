//! A fake OpenID provider over HTTP with configurable responses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::START;
use super::jwt::{SigningKey, issuer, key_set};
use crate::credential::jwt::Issuer;
use crate::jwks::{IssuerSettings, KeySource};
use crate::login::{Provider, ProviderSettings};
use crate::secret::Secret;

/// The OAuth client ID of Curfew.
pub(crate) const CLIENT_ID: &str = "curfew";
/// The timeout for one request to the provider.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_millis(700);

/// The response of one endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A response with this status and a JSON body.
    Json(u16, Value),
    /// Status 200 with this signed text.
    Signed(String),
    /// This status with an HTML page.
    Page(u16),
    Never,
}

type Callback = Box<dyn Fn() + Send + Sync>;

/// A request to the token endpoint.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) authorization: Option<String>,
    pub(crate) form: BTreeMap<String, String>,
}

/// A running fake provider; clones share its state.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    /// The response of the token endpoint.
    pub(crate) tokens: Arc<Mutex<Reply>>,
    /// The response of the UserInfo endpoint.
    pub(crate) user_info: Arc<Mutex<Reply>>,
    /// Metadata fields to add or replace.
    pub(crate) metadata: Arc<Mutex<Value>>,
    pub(crate) keys: Arc<Mutex<Vec<Value>>>,
    /// How often the keys were requested.
    pub(crate) key_requests: Arc<AtomicUsize>,
    pub(crate) token_requests: Arc<Mutex<Vec<TokenRequest>>>,
    /// The header `Authorization` of each request to the UserInfo endpoint.
    pub(crate) user_info_requests: Arc<Mutex<Vec<Option<String>>>>,
    /// The refresh tokens that clients have sent.
    pub(crate) refresh_tokens: Arc<Mutex<Vec<String>>>,
    /// A callback that runs during a request to the token endpoint.
    pub(crate) during_token_request: Arc<Mutex<Option<Callback>>>,
    /// The delay of the token endpoint before it responds.
    pub(crate) delay: Arc<Mutex<Duration>>,
    pub(crate) key: Arc<SigningKey>,
    url: String,
}

impl FakeProvider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::rsa("one");
        let provider = Self {
            tokens: Arc::new(Mutex::new(Reply::Never)),
            user_info: Arc::new(Mutex::new(Reply::Never)),
            metadata: Arc::new(Mutex::new(json!({}))),
            keys: Arc::new(Mutex::new(vec![key.jwk()])),
            key_requests: Arc::default(),
            token_requests: Arc::default(),
            user_info_requests: Arc::default(),
            refresh_tokens: Arc::default(),
            during_token_request: Arc::default(),
            delay: Arc::default(),
            key: Arc::new(key),
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

    /// Returns the requirements for the provider's tokens.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer {
            issuer: self.url.clone(),
            audiences: vec![CLIENT_ID.to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::RS256],
            leeway: Duration::from_secs(30),
            ..issuer()
        }
    }

    /// Returns Curfew's client of the provider.
    pub(crate) fn client(&self) -> Provider {
        let settings = ProviderSettings {
            issuer: IssuerSettings {
                name: "main".to_owned(),
                issuer: self.issuer(),
                keys: KeySource::File(key_set(&[&self.key])),
                policy: None,
            },
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(Secret::new("hush".to_owned())),
            scopes: Vec::new(),
            title: "Main".to_owned(),
            authorities: None,
            timeout: REQUEST_TIMEOUT,
        };
        let base = "https://app.example.com/".parse().unwrap();
        Provider::new(settings, &base, "/.curfew/callback").unwrap()
    }

    /// Returns an ID token for `alice`, with these claims added or replaced.
    pub(crate) fn id_token(&self, changes: &Value) -> String {
        let mut claims = self.required_claims();
        claims["groups"] = json!(["staff"]);
        claims["email"] = json!("alice@example.com");
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    /// The claims that every ID token for `alice` has.
    pub(crate) fn required_claims(&self) -> Value {
        let now = START.as_millis() / 1000;
        json!({ "iss": self.url, "aud": CLIENT_ID, "sub": "alice", "iat": now, "exp": now + 36_000 })
    }

    /// Makes the token endpoint respond with an access token and these additional fields.
    pub(crate) fn grant(&self, fields: Value) {
        let mut answer = json!({ "access_token": "access", "token_type": "Bearer" });
        let Value::Object(fields) = fields else {
            panic!("{fields}");
        };
        answer.as_object_mut().unwrap().extend(fields);
        self.set_token_reply(Reply::Json(200, answer));
    }

    pub(crate) fn set_token_reply(&self, reply: Reply) {
        *self.tokens.lock() = reply;
    }

    /// Returns the refresh tokens that clients have sent since the last call.
    pub(crate) fn take_refresh_tokens(&self) -> Vec<String> {
        std::mem::take(&mut self.refresh_tokens.lock())
    }
}

async fn metadata(State(provider): State<FakeProvider>) -> Response {
    let url = |path: &str| format!("{}{path}", provider.url);
    let mut metadata = json!({
        "issuer": provider.url,
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "userinfo_endpoint": url("/userinfo"),
        "jwks_uri": url("/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    for (name, value) in provider.metadata.lock().as_object().unwrap() {
        metadata[name] = value.clone();
    }
    axum::Json(metadata).into_response()
}

async fn keys(State(provider): State<FakeProvider>) -> Response {
    provider.key_requests.fetch_add(1, Ordering::SeqCst);
    let keys = provider.keys.lock().clone();
    axum::Json(json!({ "keys": keys })).into_response()
}

async fn token(State(provider): State<FakeProvider>, headers: HeaderMap, body: Bytes) -> Response {
    let form = url::form_urlencoded::parse(&body).into_owned();
    let request = TokenRequest {
        authorization: authorization_header(&headers),
        form: form.collect(),
    };
    match &*request.form["grant_type"] {
        "refresh_token" => {
            let refresh_token = request.form["refresh_token"].clone();
            provider.refresh_tokens.lock().push(refresh_token);
        }
        other => assert_eq!(other, "authorization_code"),
    }
    provider.token_requests.lock().push(request);
    if let Some(action) = &*provider.during_token_request.lock() {
        action();
    }
    let delay = *provider.delay.lock();
    tokio::time::sleep(delay).await;
    let reply = provider.tokens.lock().clone();
    respond(reply).await
}

async fn user_info(State(provider): State<FakeProvider>, headers: HeaderMap) -> Response {
    let authorization = authorization_header(&headers);
    provider.user_info_requests.lock().push(authorization);
    let reply = provider.user_info.lock().clone();
    respond(reply).await
}

fn authorization_header(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?;
    Some(value.to_str().unwrap().to_owned())
}

async fn respond(reply: Reply) -> Response {
    match reply {
        Reply::Json(status, json) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(json)).into_response()
        }
        Reply::Signed(text) => ([(CONTENT_TYPE, "application/jwt")], text).into_response(),
        Reply::Page(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(CONTENT_TYPE, "text/html")], "<p>Sorry</p>").into_response()
        }
        Reply::Never => std::future::pending().await,
    }
}
