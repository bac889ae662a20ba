//! The session of an operator in the console. It is in the store, with the limits of `admin.console`.
//!
//! The cookie contains random bytes and a signature, and Curfew derives the session ID from the random bytes. The
//! signature and the derivation both differ from those of other cookies. Therefore a console cookie is not a
//! credential for checks, and a credential for checks gives no access to the console.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use cookie::{Cookie, SameSite};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::form_urlencoded::byte_serialize;

use super::super::Admin;
use super::super::caller::missing_right;
use super::page::{error_page, unavailable_page};
use crate::actor::{Actor, ActorKind};
use crate::browser::is_same_origin;
use crate::credential::{
    KeyError, NamedToken, Right, cookie_values, operator_session_id, random_bytes,
};
use crate::current::Current;
use crate::lifecycle::StartError;
use crate::session::{AttributeError, Attributes, Session, SessionId, Timestamp};
use crate::store::{EndRequest, StoreError};
use crate::telemetry::audit;

/// The value of `source` that the admin API shows for an operator's session.
const SESSION_SOURCE: &str = "console";
/// The purpose for which the key ring signs the cookie. The signature covers the purpose, so Curfew does not accept a
/// text that the key ring signed for another purpose.
const SIGNING_PURPOSE: &str = "operator session";
/// Length of the random part of the cookie.
const RANDOM_BYTES: usize = 32;

/// The operator who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The session of this request.
    pub(super) id: SessionId,
    /// `token:NAME`, or `provider:PROVIDER:SUBJECT`.
    name: Arc<str>,
    /// The admin token with its rights; `None` for an operator from an identity provider, who has all rights.
    token: Option<Arc<NamedToken>>,
    address: Option<IpAddr>,
}

/// How an operator signed in.
#[derive(Clone, Debug)]
pub(super) enum SignInMethod<'a> {
    /// With an admin token.
    Token(&'a NamedToken),
    /// With an identity provider.
    Provider {
        provider: &'a str,
        subject: &'a str,
        attributes: &'a Attributes,
        /// The groups that may use the console.
        groups: &'a [String],
        /// When the provider authenticated the operator (`auth_time`).
        authenticated: Timestamp,
    },
}

/// Why an operator's session could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperatorStartError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Attributes(#[from] AttributeError),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Operator {
    /// Returns the actor for audit events.
    pub(super) fn actor(&self) -> Actor {
        Actor::new(ActorKind::Operator, &self.name, self.address)
    }

    /// Whether the operator has this right.
    pub(super) fn has_right(&self, right: Right) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| token.has_right(right))
    }

    /// If the operator lacks the right, writes an audit event and returns a page with status 403 that names the
    /// right.
    pub(super) fn refusal(&self, right: Right) -> Option<Response> {
        let token = self
            .token
            .as_ref()
            .filter(|token| !token.has_right(right))?;
        audit::admin_refused(right.as_str(), None, &self.actor());
        let text = missing_right(&token.name, right.as_str());
        Some(error_page(StatusCode::FORBIDDEN, "Not allowed", &text))
    }
}

impl SignInMethod<'_> {
    /// Returns the operator's name: `token:NAME`, or `provider:PROVIDER:SUBJECT`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Token(token) => format!("token:{}", token.name),
            Self::Provider {
                provider, subject, ..
            } => format!("provider:{provider}:{subject}"),
        }
    }

    /// Returns the attributes of the operator's session.
    fn attributes(&self) -> Result<Attributes, AttributeError> {
        let mut pairs = vec![
            (Attributes::SOURCE, vec![SESSION_SOURCE.to_owned()]),
            (Attributes::OPERATOR, vec![self.name()]),
        ];
        match self {
            Self::Token(token) => {
                pairs.push((Attributes::OPERATOR_TOKEN, vec![token.fingerprint()]))
            }
            Self::Provider {
                attributes, groups, ..
            } => {
                // Store only the groups that give access, because a person can be in many other groups.
                let member_groups = attributes.get(Attributes::GROUPS);
                let member_groups =
                    member_groups.filter(|group| groups.iter().any(|wanted| wanted == group));
                pairs.push((
                    Attributes::GROUPS,
                    member_groups.map(str::to_owned).collect(),
                ));
                let provider = attributes.get(Attributes::PROVIDER).map(str::to_owned);
                pairs.push((Attributes::PROVIDER, provider.collect()));
            }
        }
        let pairs = pairs.into_iter();
        Attributes::new(
            pairs
                .map(|(name, values)| (name.to_owned(), values))
                .collect(),
        )
    }
}

/// Middleware: requires an operator's session, and refuses changes from pages of other sites (CWE-352).
pub(super) async fn require_operator(
    Current(admin): Current<Admin>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let address = admin.client_address(request.headers(), request.extensions());
    let operator = match find_operator(&admin, request.headers(), address).await {
        Ok(Some(operator)) => operator,
        Ok(None) => {
            let path = request.uri().path_and_query().map_or("", |it| it.as_str());
            let to = if is_read { path } else { "/console/" };
            let to: String = byte_serialize(to.as_bytes()).collect();
            return Redirect::to(&format!("/console/sign-in?to={to}")).into_response();
        }
        // The store failed. Show an error page, and keep the cookie, because the session may still be valid.
        Err(error) => return unavailable_page(&error),
    };
    if !is_read && !is_same_origin(request.headers()) {
        let text = "The request came from a page of another site.";
        return error_page(StatusCode::FORBIDDEN, "Refused", text);
    }
    request.extensions_mut().insert(operator);
    next.run(request).await
}

/// Middleware: requires the right `read`.
pub(super) async fn require_read(
    Extension(operator): Extension<Operator>,
    request: Request,
    next: Next,
) -> Response {
    match operator.refusal(Right::Read) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// Finds the operator whose session is in the cookie. The request counts as activity.
async fn find_operator(
    admin: &Admin,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Option<Operator>, StoreError> {
    let Some(id) = cookie_session_id(admin, headers) else {
        return Ok(None);
    };
    let Some(session) = admin.lifecycle.use_operator_session(id).await? else {
        return Ok(None);
    };
    let name: Arc<str> = session.user_id().into();
    match operator_access(admin, &session) {
        OperatorAccess::Token(token) => Ok(Some(Operator {
            id,
            name,
            token: Some(token),
            address,
        })),
        OperatorAccess::Group => Ok(Some(Operator {
            id,
            name,
            token: None,
            address,
        })),
        OperatorAccess::Denied => {
            let ending = EndRequest::revoked(admin.clock.now());
            admin.lifecycle.end(id, ending, &Actor::CURFEW).await?;
            Ok(None)
        }
    }
}

/// The access that the current configuration gives to the operator of a session.
enum OperatorAccess {
    /// An admin token that is still configured.
    Token(Arc<NamedToken>),
    /// Membership in a group that may use the console.
    Group,
    /// No access, because the token or the group was removed from the configuration.
    Denied,
}

/// Returns the access that the current configuration gives to the operator of `session`.
fn operator_access(admin: &Admin, session: &Session) -> OperatorAccess {
    if let Some(fingerprint) = session.attributes.get(Attributes::OPERATOR_TOKEN).next() {
        let token = admin.tokens.find_by_fingerprint(fingerprint);
        return token.map_or(OperatorAccess::Denied, OperatorAccess::Token);
    }
    let login = admin.login.as_ref();
    let is_member = login.is_some_and(|login| session.attributes.is_in_any_group(&login.groups));
    if is_member {
        OperatorAccess::Group
    } else {
        OperatorAccess::Denied
    }
}

/// Returns the session ID from the request's cookie; `None` if the cookie is missing, repeated or forged. Sends no
/// request to the store.
fn cookie_session_id(admin: &Admin, headers: &HeaderMap) -> Option<SessionId> {
    let mut values = cookie_values(headers, cookie_name(admin));
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let text = std::str::from_utf8(value).ok()?;
    let random = admin.key_ring.verify_text(SIGNING_PURPOSE, text).ok()?;
    (random.len() == RANDOM_BYTES).then(|| operator_session_id(&random))
}

/// Starts the session of an operator, and ends a previous session of the same browser. Adds the cookie to `headers`,
/// the headers of the response.
pub(super) async fn start(
    admin: &Admin,
    method: &SignInMethod<'_>,
    request_headers: &HeaderMap,
    address: Option<IpAddr>,
    headers: &mut HeaderMap,
) -> Result<Actor, OperatorStartError> {
    let actor = Actor::new(ActorKind::Operator, &method.name(), address);
    let random: [u8; RANDOM_BYTES] = random_bytes()?;
    let signed = admin.key_ring.sign_text(SIGNING_PURPOSE, &random)?;
    let authenticated = match method {
        SignInMethod::Token(_) => None,
        SignInMethod::Provider { authenticated, .. } => Some(*authenticated),
    };
    let (id, attributes) = (operator_session_id(&random), method.attributes()?);
    let session_start =
        admin
            .lifecycle
            .start_operator_session(id, attributes, authenticated, &actor);
    session_start.await?;
    if let Some(previous) = cookie_session_id(admin, request_headers) {
        // Ignore a failure: the browser gets a new cookie anyway.
        let ending = EndRequest::revoked(admin.clock.now());
        let _ = admin.lifecycle.end(previous, ending, &actor).await;
    }
    append_cookie(build_cookie(admin, signed), headers);
    Ok(actor)
}

/// Ends the operator's session.
///
/// # Errors
/// [`StoreError`] if the store failed, so that the session may still be valid.
pub(super) async fn end(admin: &Admin, operator: &Operator) -> Result<(), StoreError> {
    let ending = EndRequest::signed_out(admin.clock.now());
    let actor = operator.actor();
    let ended = admin.lifecycle.end(operator.id, ending, &actor);
    ended.await.map(drop)
}

/// Clears the cookie in the browser.
pub(super) fn clear_cookie(admin: &Admin, headers: &mut HeaderMap) {
    let mut cookie = build_cookie(admin, String::new());
    cookie.set_max_age(cookie::time::Duration::ZERO);
    append_cookie(cookie, headers);
}

fn append_cookie(cookie: Cookie<'static>, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        headers.append(SET_COOKIE, value);
    }
}

const fn cookie_name(admin: &Admin) -> &'static str {
    if admin.secure {
        "__Host-curfew-console"
    } else {
        "curfew-console"
    }
}

fn build_cookie(admin: &Admin, value: String) -> Cookie<'static> {
    Cookie::build((cookie_name(admin), value))
        .path("/")
        .secure(admin.secure)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
}
