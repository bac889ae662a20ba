//! Kubernetes, asked whose a token is (TokenReview, `authentication.k8s.io/v1`) and what its owner may do
//! (SubjectAccessReview, `authorization.k8s.io/v1`). So the roles of the cluster say who may see and end whose sessions.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::clock::Stopwatch;
use crate::http_client::{http_client, read_body};

/// The group of what may be allowed, in roles.
pub const GROUP: &str = "sessions.curfew.dev";

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The most time for one question.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How many answers of a kind are kept.
const MAX_CACHED_ANSWERS: usize = 1000;

/// How Kubernetes is asked.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// The API server.
    pub url: Url,
    /// The file with the token that Curfew shows. It is read for each question: Kubernetes replaces it.
    pub token_file: PathBuf,
    /// PEM certificates of the authorities to trust; the system's where there are none.
    pub authorities: Option<Vec<u8>>,
    /// For whom a token must be made; for the API server where there are none.
    pub audiences: Vec<String>,
    /// How long an answer is gone by.
    pub keep: Duration,
}

/// What somebody wants to do with sessions, as a role has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// See one.
    Get,
    /// See several.
    List,
    /// Start one.
    Create,
    /// End one, or all of somebody.
    Delete,
}

impl Verb {
    /// The word in a role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

/// Somebody, as Kubernetes knows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The name, such as `system:serviceaccount:shop:backend`.
    #[serde(default)]
    pub username: String,
    /// The same for as long as they exist.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Curfew's own token can't be read.
    #[error("{}: {error}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// There is no answer.
    #[error("the API server does not answer: {0}")]
    Unavailable(String),
    /// The answer is none.
    #[error("the API server answers {0}")]
    Status(u16),
}

/// The API server.
pub struct Kubernetes {
    settings: KubernetesSettings,
    client: reqwest::Client,
    users: Mutex<Kept<[u8; 32], Option<User>>>,
    decisions: Mutex<Kept<Question, bool>>,
}

/// Who wants to do what, with whose sessions.
type Question = (User, Verb, Option<String>);

#[derive(Deserialize)]
struct Reviewed<S> {
    status: S,
}

#[derive(Deserialize)]
struct TokenStatus {
    #[serde(default)]
    authenticated: bool,
    user: Option<User>,
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Deserialize)]
struct AccessStatus {
    allowed: bool,
    #[serde(default)]
    denied: bool,
}

impl Kubernetes {
    /// Asks by these settings.
    ///
    /// # Errors
    /// [`reqwest::Error`] when the authorities can't be used.
    pub fn new(settings: KubernetesSettings) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: http_client(TIMEOUT, settings.authorities.as_deref())?,
            users: Mutex::new(Kept::new(settings.keep)),
            decisions: Mutex::new(Kept::new(settings.keep)),
            settings,
        })
    }

    /// Whose a token is, as Kubernetes said a moment ago; Kubernetes is not asked.
    #[must_use]
    pub fn known(&self, token: &str) -> Option<User> {
        let name: [u8; 32] = Sha256::digest(token).into();
        self.users.lock().get(&name).flatten()
    }

    /// Whose a token is; `None` where it is nobody's, or made for somebody else than us.
    ///
    /// # Errors
    /// [`KubernetesError`] when Kubernetes does not say.
    pub async fn who(&self, token: &str) -> Result<Option<User>, KubernetesError> {
        let name: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.users.lock().get(&name) {
            return Ok(user);
        }
        let wanted = &self.settings.audiences;
        let mut spec = json!({ "token": token });
        if !wanted.is_empty() {
            spec["audiences"] = json!(wanted);
        }
        let (group, kind) = ("authentication.k8s.io", "TokenReview");
        let status: TokenStatus = self.review(group, kind, "tokenreviews", spec).await?;
        // An API server that knows nothing of audiences would answer without.
        let ours = wanted.is_empty() || wanted.iter().any(|it| status.audiences.contains(it));
        let user = status
            .user
            .filter(|user| status.authenticated && ours && !user.username.is_empty());
        self.users.lock().keep(name, user.clone());
        Ok(user)
    }

    /// Whether somebody may do this with the sessions of a subject; with everybody's, where there is none.
    ///
    /// # Errors
    /// [`KubernetesError`] when Kubernetes does not say.
    pub async fn may(
        &self,
        user: &User,
        verb: Verb,
        subject: Option<&str>,
    ) -> Result<bool, KubernetesError> {
        let question = (user.clone(), verb, subject.map(str::to_owned));
        if let Some(allowed) = self.decisions.lock().get(&question) {
            return Ok(allowed);
        }
        let mut resource = json!({
            "group": GROUP,
            "resource": "sessions",
            "verb": verb.as_str(),
        });
        if let Some(subject) = subject {
            resource["name"] = json!(subject);
        }
        let mut spec = json!({
            "resourceAttributes": resource,
            "user": user.username,
            "groups": user.groups,
            "extra": user.extra,
        });
        if !user.uid.is_empty() {
            spec["uid"] = json!(user.uid);
        }
        let (group, kind) = ("authorization.k8s.io", "SubjectAccessReview");
        let status: AccessStatus = self
            .review(group, kind, "subjectaccessreviews", spec)
            .await?;
        let allowed = status.allowed && !status.denied;
        self.decisions.lock().keep(question, allowed);
        Ok(allowed)
    }

    async fn review<S: DeserializeOwned>(
        &self,
        group: &str,
        kind: &str,
        resource: &str,
        spec: Value,
    ) -> Result<S, KubernetesError> {
        let path = &self.settings.token_file;
        let (read, place) = (path.clone(), path.clone());
        let token = tokio::task::spawn_blocking(move || std::fs::read_to_string(read)).await;
        let token = token.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let token = token.map_err(|error| KubernetesError::Token { path: place, error })?;
        let mut url = self.settings.url.clone();
        url.set_path(&format!("/apis/{group}/v1/{resource}"));
        let body = json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec });
        let request = self.client.post(url).bearer_auth(token.trim());
        let request = request
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(body.to_string());
        let unavailable =
            |error: reqwest::Error| KubernetesError::Unavailable(error.without_url().to_string());
        let mut answer = request.send().await.map_err(unavailable)?;
        if !answer.status().is_success() {
            return Err(KubernetesError::Status(answer.status().as_u16()));
        }
        let body = read_body(&mut answer, MAX_ANSWER_BYTES)
            .await
            .map_err(unavailable)?;
        let body =
            body.ok_or_else(|| KubernetesError::Unavailable("it goes on for ever".to_owned()))?;
        let reviewed: Reviewed<S> = serde_json::from_slice(&body).map_err(|error| {
            KubernetesError::Unavailable(format!("its answer is none: {error}"))
        })?;
        Ok(reviewed.status)
    }
}

/// Answers of the last moments.
struct Kept<K, V> {
    keep: Duration,
    entries: HashMap<K, (V, Stopwatch)>,
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn new(keep: Duration) -> Self {
        Self {
            keep,
            entries: HashMap::new(),
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        let (value, since) = self.entries.get(key)?;
        (since.seconds() < self.keep.as_secs_f64()).then(|| value.clone())
    }

    fn keep(&mut self, key: K, value: V) {
        if self.entries.len() >= MAX_CACHED_ANSWERS {
            let keep = self.keep.as_secs_f64();
            self.entries.retain(|_, (_, since)| since.seconds() < keep);
        }
        // Whoever shows so many tokens has them all looked up.
        if self.entries.len() < MAX_CACHED_ANSWERS && !self.keep.is_zero() {
            self.entries.insert(key, (value, Stopwatch::start()));
        }
    }
}
