//! Cluster roles grant the use of the admin API. A fake API server serves the two review APIs (TokenReview and
//! SubjectAccessReview) over TLS. The test validates Curfew's requests with the schemas of Kubernetes.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use curfew::clock::Stopwatch;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::support::curfew::{CreatedSession, Curfew};
use crate::support::deployment::installed_path;
use crate::support::loopback;
use crate::support::tls::{Certificates, TlsListener};

const REVIEWER_TOKEN: &str = "the token of Curfew's own service account";

/// A fake API server with the two review APIs.
#[derive(Clone, Default)]
struct FakeApiServer {
    reviews: Arc<Mutex<Vec<Value>>>,
    is_down: Arc<std::sync::atomic::AtomicBool>,
}

/// Returns a token for this user, in the format of Kubernetes.
fn token_of(name: &str) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{name}.c2lnbmF0dXJl")
}

impl FakeApiServer {
    async fn start(&self, certificates: &Certificates) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route(
                "/apis/authentication.k8s.io/v1/tokenreviews",
                post(review_token),
            )
            .route(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                post(review_access),
            )
            .with_state(self.clone());
        let listener = TlsListener::new(listener, certificates);
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        address
    }

    /// Records the request, if the server is not down and the request has the token of Curfew's own service account.
    fn authenticate(&self, headers: &HeaderMap, review: &Value) -> Result<(), StatusCode> {
        if self.is_down.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let presented = headers.get("authorization").and_then(|it| it.to_str().ok());
        if presented != Some(&format!("Bearer {REVIEWER_TOKEN}")) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        self.reviews.lock().unwrap().push(review.clone());
        Ok(())
    }

    fn take_reviews(&self) -> Vec<Value> {
        std::mem::take(&mut *self.reviews.lock().unwrap())
    }
}

async fn review_token(
    State(api_server): State<FakeApiServer>,
    headers: HeaderMap,
    Json(mut review): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    api_server.authenticate(&headers, &review)?;
    assert_eq!(review["spec"]["audiences"], json!(["curfew"]));
    let presented = review["spec"]["token"].as_str().unwrap();
    let name = presented.split('.').nth(1).unwrap();
    review["status"] = match name {
        "operator" | "viewer" | "shop" | "nobody" => json!({
            "authenticated": true,
            "audiences": ["curfew"],
            "user": {
                "username": format!("system:serviceaccount:shop:{name}"),
                "uid": "8c3f0a52-7d0f-4b6f-9a0e-111111111111",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
                "extra": { "authentication.kubernetes.io/pod-name": [name] },
            },
        }),
        "elsewhere" => json!({
            "authenticated": true,
            "audiences": ["https://kubernetes.default.svc"],
            "user": { "username": "system:serviceaccount:shop:operator" },
        }),
        _ => json!({ "authenticated": false, "user": {}, "error": "invalid bearer token" }),
    };
    review["metadata"] = json!({ "creationTimestamp": null });
    Ok((StatusCode::CREATED, Json(review)))
}

async fn review_access(
    State(api_server): State<FakeApiServer>,
    headers: HeaderMap,
    Json(mut review): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    api_server.authenticate(&headers, &review)?;
    let spec = &review["spec"];
    let attributes = &spec["resourceAttributes"];
    assert_eq!(attributes["group"], "sessions.curfew.dev");
    assert_eq!(attributes["resource"], "sessions");
    assert_eq!(spec["groups"][1], "system:serviceaccounts:shop");
    let (verb, name) = (
        attributes["verb"].as_str().unwrap(),
        attributes["name"].as_str(),
    );
    let user = spec["user"].as_str().unwrap().rsplit(':').next().unwrap();
    let allowed = match user {
        "operator" => true,
        "viewer" => matches!(verb, "get" | "list"),
        // The role has `resourceNames`, so it grants access to one subject only.
        "shop" => name == Some("alice"),
        _ => false,
    };
    review["status"] = json!({ "allowed": allowed, "reason": "RBAC" });
    Ok((StatusCode::CREATED, Json(review)))
}

/// A user of the API.
struct ApiUser<'a>(&'a Curfew, &'a str);

impl ApiUser<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.0.admin);
        let request = client().request(method.parse().unwrap(), url);
        // Each user has its own address, so wrong tokens of one user do not lock out others.
        let address = format!("192.0.2.{}", self.1.as_bytes()[0]);
        let request = request.header("x-forwarded-for", address);
        let request = request.bearer_auth(token_of(self.1));
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.call(method, path, None).await.0
    }
}

async fn start_with_api_server(
    certificates: &Certificates,
    api_server: &FakeApiServer,
    token: &str,
) -> (Curfew, tempfile::TempDir) {
    let address = api_server.start(certificates).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let setup = Setup::memory()
        .set("ADMIN__KUBERNETES__ENABLED", "true")
        .set("ADMIN__KUBERNETES__URL", &format!("https://{address}"))
        .set("ADMIN__KUBERNETES__TOKEN_FILE", file.to_str().unwrap())
        .set(
            "ADMIN__KUBERNETES__CA_FILE",
            &certificates.path_string("ca.pem"),
        )
        .set("ADMIN__KUBERNETES__CACHE", "1s")
        .set("ADMIN__TRUSTED_PROXIES", "1");
    (setup.start(), directory)
}

#[tokio::test]
async fn kubernetes_roles_grant_rights() {
    let certificates = Certificates::generate();
    let api_server = FakeApiServer::default();
    let (curfew, _token) = start_with_api_server(&certificates, &api_server, REVIEWER_TOKEN).await;
    let alice: CreatedSession = curfew.sign_in("alice").await;
    let bob = curfew.sign_in("bob").await;
    assert!(
        api_server.take_reviews().is_empty(),
        "an admin token causes no review"
    );
    let (path_of_alice, path_of_bob) = (
        format!("/sessions/{}", alice.id),
        format!("/sessions/{}", bob.id),
    );
    let unknown = format!("/sessions/{}", "0".repeat(32));
    let explain_path = |id: &str| format!("{id}/explain");
    let explain_request = json!({ "url": "https://app.example.com/" });
    let age_request = json!({ "by": "1s" });
    for (user_name, expected) in [
        // The statuses are for: create, list all, list alice, count bob, get alice, get bob, get unknown, explain
        // bob, policies, age bob.
        (
            "operator",
            [201, 200, 200, 200, 200, 200, 404, 200, 200, 200],
        ),
        ("viewer", [403, 200, 200, 200, 200, 200, 404, 200, 200, 403]),
        ("shop", [201, 403, 200, 403, 200, 403, 403, 403, 403, 403]),
        ("nobody", [403; 10]),
        ("elsewhere", [401; 10]),
        ("forged", [401; 10]),
    ] {
        let user = ApiUser(&curfew, user_name);
        let create = json!({ "subject": "alice" });
        let statuses = [
            user.call("POST", "/sessions", Some(create)).await.0,
            user.status("GET", "/sessions").await,
            user.status("GET", "/sessions?subject=alice").await,
            user.status("GET", "/sessions/count?subject=bob").await,
            user.status("GET", &path_of_alice).await,
            user.status("GET", &path_of_bob).await,
            user.status("GET", &unknown).await,
            user.call(
                "POST",
                &explain_path(&path_of_bob),
                Some(explain_request.clone()),
            )
            .await
            .0,
            user.status("GET", "/policies").await,
            user.call(
                "POST",
                &format!("{path_of_bob}/age"),
                Some(age_request.clone()),
            )
            .await
            .0,
        ];
        assert_eq!(statuses, expected, "{user_name}");
    }
    // The answer names the missing right, and the session has not ended.
    let (_, problem) = ApiUser(&curfew, "viewer")
        .call("DELETE", &path_of_bob, None)
        .await;
    assert_eq!(
        problem["detail"],
        "no Kubernetes role allows system:serviceaccount:shop:viewer to delete sessions.sessions.curfew.dev named \"bob\""
    );
    assert_eq!(
        ApiUser(&curfew, "shop")
            .status("DELETE", "/sessions?subject=bob")
            .await,
        403
    );
    assert_eq!(curfew.check(&bob).await, ALLOWED);
    assert_eq!(
        ApiUser(&curfew, "shop")
            .status("DELETE", &path_of_alice)
            .await,
        200
    );
    assert_eq!(curfew.check(&alice).await, denied("revoked"));
    assert_eq!(
        ApiUser(&curfew, "operator")
            .status("DELETE", "/sessions?subject=bob")
            .await,
        200
    );
    assert_eq!(curfew.check(&bob).await, denied("revoked"));
    eventually("the audit event is logged", async || {
        curfew.audit_events("admin.refused").len() > 10
    })
    .await;
    let refused = &curfew.audit_events("admin.refused")[0];
    assert_eq!(refused["curfew.admin.verb"], "create");
    assert_eq!(refused["curfew.actor.kind"], "kubernetes_user");
    assert_eq!(refused["source.ip"].as_str().unwrap()[..8], *"192.0.2.");
    assert!(
        !curfew.log().contains(&token_of("operator")),
        "no token is logged"
    );
    assert!(!curfew.log().contains(REVIEWER_TOKEN));
    // Curfew does not ask Kubernetes about a token in another format.
    api_server.take_reviews();
    for malformed_token in ["x", "a.b", "a.b.c.d", &"a.b.c".repeat(10_000)] {
        let url = format!("http://{}/api/v1/policies", curfew.admin);
        let answer = client().get(url).bearer_auth(malformed_token).send().await;
        assert!(answer.map_or(true, |answer| answer.status().is_client_error()));
    }
    assert!(api_server.take_reviews().is_empty());
}

/// Curfew caches answers of Kubernetes for a moment. If Kubernetes does not answer, Curfew answers with 503, not with
/// 403.
#[tokio::test]
async fn kubernetes_answers_are_cached_and_failures_deny() {
    let certificates = Certificates::generate();
    let api_server = FakeApiServer::default();
    let (curfew, _token) = start_with_api_server(&certificates, &api_server, REVIEWER_TOKEN).await;
    let operator = ApiUser(&curfew, "operator");
    let stopwatch = Stopwatch::start();
    for _ in 0..20 {
        assert_eq!(operator.status("GET", "/sessions?subject=alice").await, 200);
    }
    // Curfew needs two reviews for each second, because it caches an answer for one second.
    let max_reviews = 2 * (2 + stopwatch.seconds() as usize);
    let reviews = api_server.take_reviews();
    assert!(
        (2..=max_reviews.min(39)).contains(&reviews.len()),
        "{} reviews, at most {max_reviews}",
        reviews.len()
    );
    // Validates the requests with the schemas of Kubernetes.
    for mut review in reviews {
        // The validator requires a name, which a review does not have.
        review["metadata"] = json!({ "name": "review" });
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), review.to_string()).unwrap();
        for version in ["1.29", "1.37"] {
            let output = Command::new(installed_path("bin/kubernetes-validate"))
                .args(["-k", version, "--strict"])
                .arg(file.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", to_text(&output.stdout));
        }
    }
    let is_down = &api_server.is_down;
    is_down.store(true, std::sync::atomic::Ordering::Relaxed);
    eventually("the cached answer expires", async || {
        operator.status("GET", "/sessions?subject=alice").await == 503
    })
    .await;
    let (_, problem) = operator.call("GET", "/sessions?subject=alice", None).await;
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("could not check the permission")
    );
    // Admin tokens still work.
    assert_eq!(curfew.call("GET", "/api/v1/policies", None).await.0, 200);
    is_down.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(operator.status("GET", "/sessions?subject=alice").await, 200);
}

/// Kubernetes replaces Curfew's own token from time to time. If that token is wrong, Curfew answers with 503, not with
/// 403. It reads the file for each request.
#[tokio::test]
async fn a_replaced_token_of_curfew_is_read_again() {
    let certificates = Certificates::generate();
    let api_server = FakeApiServer::default();
    let (curfew, token_file) = start_with_api_server(&certificates, &api_server, "expired").await;
    let user = ApiUser(&curfew, "viewer");
    assert_eq!(user.status("GET", "/sessions?subject=alice").await, 503);
    std::fs::write(token_file.path().join("token"), REVIEWER_TOKEN).unwrap();
    assert_eq!(user.status("GET", "/sessions?subject=alice").await, 200);
}

#[test]
fn missing_kubernetes_settings_are_reported() {
    for (key, value, expected_error) in [
        (
            "URL",
            "http://kubernetes.default.svc",
            "admin.kubernetes.url",
        ),
        ("TOKEN_FILE", "/nowhere", "admin.kubernetes.token_file"),
        ("CA_FILE", "/nowhere", "admin.kubernetes.ca_file"),
        ("CACHE", "1h", "admin.kubernetes.cache"),
    ] {
        let setup = Setup::memory()
            .set("ADMIN__KUBERNETES__ENABLED", "true")
            .set("ADMIN__KUBERNETES__TOKEN_FILE", "/dev/null")
            .set("ADMIN__KUBERNETES__CA_FILE", "/dev/null")
            .set(&format!("ADMIN__KUBERNETES__{key}"), value);
        let output = run_command(&setup, &["check-config"]);
        assert!(
            to_text(&output.stderr).contains(expected_error),
            "{key}: {output:?}"
        );
    }
}
