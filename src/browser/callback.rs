use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use url::form_urlencoded::parse;

use super::asker::Asker;
use super::cookies::gone;
use super::login::{failed, send};
use super::{farewell, private};
use crate::contract::Contracts;
use crate::lifecycle::{SignIn, StartError};
use crate::login::{Attempt, Login, LoginError, Provider, Redeemed};
use crate::policy::{Activity, Passivity};
use crate::session::Timestamp;
use crate::store::Ending;
use crate::telemetry::audit;

/// What a provider answers (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default)]
struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Answer {
    /// `None` where something is there twice.
    fn new(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut answer.code,
                "state" => &mut answer.state,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(answer)
    }
}

/// What comes of an answer.
enum Outcome {
    /// The person is signed in.
    In(Box<Redeemed>, Timestamp),
    /// They must prove again who they are.
    Again,
}

/// `GET /.curfew/callback/{provider}?code=…&state=…`: where a provider sends a person back to.
pub(super) async fn finish(
    State(contracts): State<Arc<Contracts>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    asker: Asker,
) -> Result<Response, StatusCode> {
    let login = contracts.login.as_deref().ok_or(StatusCode::NOT_FOUND)?;
    let provider = login.meant(Some(&name)).ok_or(StatusCode::NOT_FOUND)?;
    let answer = Answer::new(query.as_deref().unwrap_or("")).unwrap_or_default();
    let now = contracts.checker.lifecycle.clock.now();
    let state = answer.state.as_deref().unwrap_or("");
    let (secure, ring) = (login.secure, &login.key_ring);
    let attempt = match Attempt::find(&asker.headers, state, secure, ring, now) {
        Ok(attempt) => attempt,
        Err(error) => return Ok(refuse(&contracts, provider, &error, None)),
    };
    let outcome = judge(&contracts, login, provider, &attempt, &answer).await;
    let mut response = match outcome {
        Ok(Outcome::In(redeemed, begun)) => {
            enter(
                &contracts, login, provider, &attempt, *redeemed, begun, &asker,
            )
            .await
        }
        Ok(Outcome::Again) => {
            let (target, headers) = (&attempt.target, &asker.headers);
            send(&contracts, login, provider, target, true, headers).await
        }
        Err(error) => refuse(&contracts, provider, &error, Some(&attempt)),
    };
    // It has served, however it ended.
    let name = Attempt::cookie_name(state, login.secure);
    if let Some(gone) = name.and_then(|name| gone(&name, "/", None, login.secure)) {
        response.headers_mut().append(SET_COOKIE, gone);
    }
    Ok(response)
}

/// Looks at an answer to an attempt.
async fn judge(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<Outcome, LoginError> {
    if attempt.provider != provider.name() {
        return Err(LoginError::NotAsked("it comes from another provider"));
    }
    if let Some(error) = &answer.error {
        // A word of the protocol's, and nothing that anybody could put in its place.
        let word = error
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let word = if word && error.len() < 64 {
            error
        } else {
            "an error"
        };
        return Err(LoginError::Refused(word.to_owned()));
    }
    let code = answer.code.as_deref();
    let code = code.ok_or(LoginError::NotAsked("it has no code"))?;
    let lifecycle = &contracts.checker.lifecycle;
    let now = lifecycle.clock.now();
    let redeemed = provider.redeem(attempt, code, answer.iss.as_deref(), now);
    let redeemed = redeemed.await?;
    let policy = Login::policy(provider, &lifecycle.policies);
    let max_age =
        policy.and_then(|(_, policy)| login.max_age(policy, &redeemed.signed_in.attributes));
    let leeway = provider.settings.issuer.issuer.leeway;
    let begun = Login::begun(attempt, &redeemed, max_age, leeway, lifecycle.clock.now())?;
    match begun {
        Some(begun) => Ok(Outcome::In(Box::new(redeemed), begun)),
        None if attempt.again => {
            let deaf = "it was asked to sign the person in again (prompt=login) and did not";
            Err(LoginError::Invalid(deaf.to_owned()))
        }
        None => Ok(Outcome::Again),
    }
}

/// Starts the session, instead of the one that the browser had.
async fn enter(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    attempt: &Attempt,
    redeemed: Redeemed,
    begun: Timestamp,
    asker: &Asker,
) -> Response {
    let (checker, lifecycle) = (&contracts.checker, &contracts.checker.lifecycle);
    let (Ok(request), Some((policy, _))) = (
        asker.request(),
        Login::policy(provider, &lifecycle.policies),
    ) else {
        return private(StatusCode::BAD_REQUEST);
    };
    let passive = Activity::Passive(Passivity::Rule);
    if let Some((id, _)) = checker.look(&request, passive).await.session {
        // Whether or not that works, the browser has another from now on.
        let _ = lifecycle
            .end(id, Ending::revoked(lifecycle.clock.now()))
            .await;
    }
    let Redeemed {
        signed_in,
        id_token,
    } = redeemed;
    let started = lifecycle.start(SignIn {
        subject: signed_in.subject,
        attributes: signed_in.attributes,
        policy: policy.clone(),
        remember: false,
        client: checker.client(&request),
        authenticated: Some(begun),
    });
    let started = match started.await {
        Ok(started) => started,
        // It would have ended already.
        Err(StartError::TooOld) if !attempt.again => {
            return send(
                contracts,
                login,
                provider,
                &attempt.target,
                true,
                &asker.headers,
            )
            .await;
        }
        Err(error) => {
            tracing::warn!(provider = provider.name(), %error, "nobody was signed in");
            let (status, text) = match error {
                StartError::TooMany(_) => (
                    StatusCode::FORBIDDEN,
                    "You have as many sessions as you can have. Sign out elsewhere first.",
                ),
                StartError::TooOld => (StatusCode::FORBIDDEN, "Your sign-in was too long ago."),
                _ => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "You can not be signed in right now. Please try again in a moment.",
                ),
            };
            lifecycle.metrics.login(provider.name(), "not_started");
            return failed(status, text, Some(&attempt.target));
        }
    };
    lifecycle.metrics.login(provider.name(), "ok");
    let mut response = private(StatusCode::SEE_OTHER);
    let headers = response.headers_mut();
    let (cookie, now) = (&contracts.cookie, lifecycle.clock.now());
    let session = cookie.issue(&started.token, &started.session, now);
    let hint = farewell::remember(login, provider, &id_token);
    let cookies = HeaderValue::try_from(session).ok().into_iter().chain(hint);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    if let Ok(target) = HeaderValue::from_str(&attempt.target) {
        headers.insert(LOCATION, target);
    }
    response
}

/// Tells the person, and the operator, that an answer was not taken.
fn refuse(
    contracts: &Contracts,
    provider: &Provider,
    error: &LoginError,
    attempt: Option<&Attempt>,
) -> Response {
    let name = provider.name();
    audit::login_refused(name, error.as_str(), error);
    contracts
        .checker
        .lifecycle
        .metrics
        .login(name, error.as_str());
    let (status, text) = match error {
        LoginError::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The identity provider can not be reached right now. Please try again in a moment.",
        ),
        LoginError::NotAsked(_) => (
            StatusCode::BAD_REQUEST,
            "This sign-in was not begun in this browser, or it took too long.",
        ),
        LoginError::Refused(_) => (
            StatusCode::FORBIDDEN,
            "The identity provider did not sign you in.",
        ),
        LoginError::Invalid(_) => (
            StatusCode::FORBIDDEN,
            "The identity provider's answer can not be taken.",
        ),
    };
    failed(status, text, attempt.map(|attempt| &*attempt.target))
}
