//! The client of the Kubernetes API. Asks Kubernetes who the user of a token is (TokenReview, `authentication.k8s.io/v1`), and what this user may do
//! (SubjectAccessReview, `authorization.k8s.io/v1`). So cluster roles control who may show, start and end sessions.

#[cfg(feature = "kubernetes")]
mod client;
#[cfg(not(feature = "kubernetes"))]
#[path = "kubernetes/no_client.rs"]
mod client;

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

pub use client::{Client, ClientError};

/// The API group of sessions in cluster roles.
pub const API_GROUP: &str = "sessions.curfew.dev";

/// The timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum number of entries in each cache.
const MAX_CACHED_RESPONSES: usize = 1000;

/// The settings for the Kubernetes API.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// The address of the API server.
    pub url: Url,
    /// The file with Curfew's own token. Curfew reads the file for each request, because Kubernetes replaces the token.
    pub token_file: PathBuf,
    /// The file with the trusted certificate authorities.
    pub ca_file: PathBuf,
    /// The accepted audiences of a token. If the list is empty, the audience of the API server is accepted.
    pub audiences: Vec<String>,
    /// How long a response stays in the cache.
    pub cache_duration: Duration,
}

/// The settings for the policies of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The address of the API server.
    pub url: Url,
    /// The file with Curfew's own token, which Curfew reads again when Kubernetes replaces it; `None` without a token.
    pub token_file: Option<PathBuf>,
    /// The file with the trusted certificate authorities; `None` without encryption.
    pub ca_file: Option<PathBuf>,
    /// The namespace of Curfew, for its lease.
    pub namespace: String,
    /// Whether every check is denied until all policies are known.
    pub required: bool,
}

/// An action on sessions. A cluster role names it by its verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Show one session.
    Get,
    /// List sessions.
    List,
    /// Start a session.
    Create,
    /// End one session, or all sessions of a subject.
    Delete,
}

impl Verb {
    /// Returns the verb as a cluster role contains it.
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

/// A user of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The user name, such as `system:serviceaccount:shop:backend`.
    #[serde(default)]
    pub username: String,
    /// The unique ID of the user. Kubernetes never uses this ID for another user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// Why Curfew got no answer from Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The request failed, or the response is invalid.
    #[error("Kubernetes API unavailable: {0}")]
    Unavailable(String),
    /// The response has an error status.
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(dead_code, reason = "there is no client")
    )]
    #[error("Kubernetes API returned status {0}")]
    Status(u16),
}

/// A client of the Kubernetes API, with a cache.
pub struct Kubernetes {
    settings: KubernetesSettings,
    client: Client,
    users: Mutex<ResponseCache<[u8; 32], Option<User>>>,
    decisions: Mutex<ResponseCache<AccessReview, bool>>,
}

/// The user, the verb and the subject; the subject is `None` for all sessions.
type AccessReview = (User, Verb, Option<String>);

#[derive(Deserialize)]
struct ReviewResponse<S> {
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
    /// Creates a client with these settings.
    ///
    /// # Errors
    /// [`ClientError`] if the client cannot be created.
    pub fn new(settings: KubernetesSettings) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(
                &settings.url,
                Some(&settings.token_file),
                Some(&settings.ca_file),
            )?,
            users: Mutex::new(ResponseCache::new(settings.cache_duration)),
            decisions: Mutex::new(ResponseCache::new(settings.cache_duration)),
            settings,
        })
    }

    /// Returns the user of a token, if the cache contains it.
    #[must_use]
    pub fn cached_user(&self, token: &str) -> Option<User> {
        let token_hash: [u8; 32] = Sha256::digest(token).into();
        self.users.lock().get(&token_hash).flatten()
    }

    /// Returns the user of a token; `None` if the token is invalid or has another audience.
    ///
    /// # Errors
    /// [`KubernetesError`] if Kubernetes gives no answer.
    pub async fn review_token(&self, token: &str) -> Result<Option<User>, KubernetesError> {
        let token_hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.users.lock().get(&token_hash) {
            return Ok(user);
        }
        let accepted_audiences = &self.settings.audiences;
        let mut spec = json!({ "token": token });
        if !accepted_audiences.is_empty() {
            spec["audiences"] = json!(accepted_audiences);
        }
        let (group, kind) = ("authentication.k8s.io", "TokenReview");
        let status: TokenStatus = self.post_review(group, kind, "tokenreviews", spec).await?;
        // Compare the audiences here, too, because an API server without support for audiences ignores `audiences` in
        // the request and returns none.
        let is_for_us = accepted_audiences.is_empty()
            || accepted_audiences
                .iter()
                .any(|it| status.audiences.contains(it));
        let user = status
            .user
            .filter(|user| status.authenticated && is_for_us && !user.username.is_empty());
        self.users.lock().insert(token_hash, user.clone());
        Ok(user)
    }

    /// Whether a user may use this verb on the sessions of a subject, or of all subjects if `subject` is `None`.
    ///
    /// # Errors
    /// [`KubernetesError`] if Kubernetes gives no answer.
    pub async fn is_allowed(
        &self,
        user: &User,
        verb: Verb,
        subject: Option<&str>,
    ) -> Result<bool, KubernetesError> {
        let review = (user.clone(), verb, subject.map(str::to_owned));
        if let Some(allowed) = self.decisions.lock().get(&review) {
            return Ok(allowed);
        }
        let mut resource = json!({
            "group": API_GROUP,
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
            .post_review(group, kind, "subjectaccessreviews", spec)
            .await?;
        let allowed = status.allowed && !status.denied;
        self.decisions.lock().insert(review, allowed);
        Ok(allowed)
    }

    async fn post_review<S: DeserializeOwned>(
        &self,
        group: &str,
        kind: &str,
        resource: &str,
        spec: Value,
    ) -> Result<S, KubernetesError> {
        let path = format!("/apis/{group}/v1/{resource}");
        let body = json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec });
        let posting = self.client.post(&path, &body);
        let review = tokio::time::timeout(REQUEST_TIMEOUT, posting).await;
        let timeout = |_| KubernetesError::Unavailable("no answer in time".to_owned());
        let review: ReviewResponse<S> = review.map_err(timeout)??;
        Ok(review.status)
    }
}

/// A cache of recent responses.
struct ResponseCache<K, V> {
    ttl: Duration,
    entries: HashMap<K, (V, Stopwatch)>,
}

impl<K: Eq + Hash, V: Clone> ResponseCache<K, V> {
    fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            entries: HashMap::new(),
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        let (value, age) = self.entries.get(key)?;
        (age.seconds() < self.ttl.as_secs_f64()).then(|| value.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= MAX_CACHED_RESPONSES {
            let ttl = self.ttl.as_secs_f64();
            self.entries.retain(|_, (_, age)| age.seconds() < ttl);
        }
        // If the cache is full, further responses are not cached.
        if self.entries.len() < MAX_CACHED_RESPONSES && !self.ttl.is_zero() {
            self.entries.insert(key, (value, Stopwatch::start()));
        }
    }
}
