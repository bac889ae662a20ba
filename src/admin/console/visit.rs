//! How long somebody who came in stays: 15 minutes without doing anything, 8 hours in all.
//!
//! Nothing is kept of it here: it is in a cookie, sealed by the key ring, with the hash of the token that
//! opened the door. A token that is taken out of the configuration lets nobody stay.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use cookie::{Cookie, SameSite};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::byte_serialize;

use super::super::Admin;
use super::page::trouble;
use crate::browser::is_same_origin;
use crate::credential::cookie_values;
use crate::session::Timestamp;

/// How long somebody may do nothing, and how old the proof of who they are may be when they come in.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
const ABSOLUTE: Duration = Duration::from_secs(8 * 3600);
/// How old the last activity in the cookie may be before it is written anew.
const PRECISION: Duration = Duration::from_secs(15);
/// What the seal is for.
const PURPOSE: &str = "console";

/// Somebody's visit.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Visit {
    by: By,
    begun: u64,
    seen: u64,
}

/// What opened the door.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum By {
    /// A token of this hash.
    Token([u8; 32]),
    /// Being in these groups.
    Groups(Vec<String>),
}

impl By {
    /// Whether it still opens it.
    pub(super) fn opens(&self, admin: &Admin) -> bool {
        match self {
            Self::Token(hash) => admin.tokens.knows(hash),
            Self::Groups(groups) => admin.login.as_ref().is_some_and(|login| {
                let mut wanted = login.groups.iter();
                wanted.any(|wanted| groups.contains(wanted))
            }),
        }
    }
}

impl Visit {
    /// Whether it goes on at `now`.
    fn goes_on(&self, now: Timestamp) -> bool {
        let at = Timestamp::from_millis;
        now < at(self.begun).plus(ABSOLUTE) && now < at(self.seen).plus(IDLE)
    }
}

/// Lets in whoever has come in before, and keeps other sites' pages out (CWE-352).
pub(super) async fn require(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let now = admin.lifecycle.clock.now();
    let visit = of(&admin, request.headers()).filter(|visit| visit.goes_on(now));
    let reads = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let Some(visit) = visit else {
        let path = request.uri().path_and_query().map_or("", |it| it.as_str());
        let to = if reads { path } else { "/console/" };
        let to: String = byte_serialize(to.as_bytes()).collect();
        return Redirect::to(&format!("/console/sign-in?to={to}")).into_response();
    };
    if !reads && !is_same_origin(request.headers()) {
        let text = "This was sent by a page of another site.";
        return trouble(StatusCode::FORBIDDEN, "Refused", text);
    }
    let mut response = next.run(request).await;
    let is_old = now >= Timestamp::from_millis(visit.seen).plus(PRECISION);
    let seen = now.as_millis();
    if is_old && !response.headers().contains_key(SET_COOKIE) {
        keep(&admin, &Visit { seen, ..visit }, response.headers_mut());
    }
    response
}

/// Begins a visit of somebody whom the door was opened.
pub(super) fn begin(admin: &Admin, by: By, headers: &mut HeaderMap) {
    let now = admin.lifecycle.clock.now().as_millis();
    let visit = Visit {
        by,
        begun: now,
        seen: now,
    };
    keep(admin, &visit, headers);
}

/// Ends it.
pub(super) fn end(admin: &Admin, headers: &mut HeaderMap) {
    let mut cookie = cookie(admin, String::new());
    cookie.set_max_age(cookie::time::Duration::ZERO);
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        headers.append(SET_COOKIE, value);
    }
}

fn of(admin: &Admin, headers: &HeaderMap) -> Option<Visit> {
    let mut values = cookie_values(headers, name(admin));
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let text = std::str::from_utf8(value).ok()?;
    let bytes = admin.lifecycle.key_ring.open(PURPOSE, text).ok()?;
    let visit: Visit = serde_json::from_slice(&bytes).ok()?;
    visit.by.opens(admin).then_some(visit)
}

fn keep(admin: &Admin, visit: &Visit, headers: &mut HeaderMap) {
    let Ok(bytes) = serde_json::to_vec(visit) else {
        return;
    };
    let Ok(sealed) = admin.lifecycle.key_ring.seal(PURPOSE, &bytes) else {
        return;
    };
    if let Ok(value) = HeaderValue::from_str(&cookie(admin, sealed).to_string()) {
        headers.append(SET_COOKIE, value);
    }
}

const fn name(admin: &Admin) -> &'static str {
    if admin.secure {
        "__Host-curfew-console"
    } else {
        "curfew-console"
    }
}

fn cookie(admin: &Admin, value: String) -> Cookie<'static> {
    Cookie::build((name(admin), value))
        .path("/")
        .secure(admin.secure)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
}
