use axum::extract::RawQuery;
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use super::browser_request::BrowserRequest;
use super::cookies::{gone, passing};
use super::page::page;
use super::{PREFIX, clear_cookies, framed, private, signed_out};
use crate::check::{Original, OriginalUrl, Outcome};
use crate::contract::{Contracts, is_framed};
use crate::current::Current;
use crate::login::{Attempt, Login, LoginError, Provider};
use crate::policy::{Activity, Passivity};
use crate::session::{Attributes, DenyReason, Verdict};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// How many attempts a browser has at once, each a cookie of about 80 bytes. Beyond that, the oldest are dropped.
const ATTEMPTS: usize = 20;
/// How many attempts one answer drops.
const MAX_REMOVALS: usize = 8;
/// The most bytes of an address to go to after the sign-in. It is a part of `state`, and the whole
/// head of the answer must fit in the 4 KiB that NGINX has for it.
const LONGEST_TARGET: usize = 1024;

/// What is asked for.
#[derive(Debug, Default)]
struct Asked {
    /// The provider, where there are several.
    provider: Option<String>,
    /// Where the person wants to go.
    rd: Option<String>,
    /// Why they were sent here.
    reason: Option<String>,
}

impl Asked {
    fn new(query: &str) -> Self {
        let mut asked = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            let place = match &*name {
                "provider" => &mut asked.provider,
                "rd" => &mut asked.rd,
                "reason" => &mut asked.reason,
                _ => continue,
            };
            // What stands there twice is the first.
            place.get_or_insert_with(|| value.into_owned());
        }
        asked
    }

    /// The same address again.
    fn again(&self) -> String {
        self.with(self.provider.as_deref())
    }

    /// The same, at this provider.
    fn at(&self, provider: &str) -> String {
        self.with(Some(provider))
    }

    fn with(&self, provider: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        let others = [
            ("provider", provider),
            ("rd", self.rd.as_deref()),
            ("reason", self.reason.as_deref()),
        ];
        for (name, value) in others {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("{PREFIX}/login?{}", query.finish())
    }
}

/// `GET /.curfew/login?rd=…&reason=…`: sends a person to the identity provider, or lets them choose one.
pub(super) async fn begin(
    Current(contracts): Current<Contracts>,
    RawQuery(query): RawQuery,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    let login = contracts.login.as_deref().ok_or(StatusCode::NOT_FOUND)?;
    // Providers let nobody frame their pages.
    if is_framed(&browser_request.method, &browser_request.headers) {
        return Ok(framed::page());
    }
    let asked = Asked::new(query.as_deref().unwrap_or(""));
    let target = target(&contracts, login, asked.rd.as_deref());
    let denial = denial(&contracts, &browser_request, target.as_deref()).await;
    // A script can't follow to another host, and would only collect cookies. ingress-nginx redirects scripts, too.
    let by_script = browser_request
        .headers
        .get(SEC_FETCH_MODE)
        .is_some_and(|mode| mode != "navigate");
    if by_script {
        let request = browser_request.request()?;
        let denial = Outcome {
            verdict: match denial.verdict {
                // The check goes by a policy that is not known here.
                Verdict::Allow => Verdict::Deny(DenyReason::ReauthenticationRequired),
                denied @ Verdict::Deny(_) => denied,
            },
            ..denial
        };
        return Ok(private(contracts.denial(&request, &denial)));
    }
    // A proxy that makes redirects itself (ingress-nginx) sends them here.
    if !contracts
        .checker
        .sources
        .ambiguous_cookies(&browser_request.headers)
        .is_empty()
    {
        let again = asked.again();
        return Ok(clear_cookies::clear(
            &contracts,
            &browser_request,
            &again,
            &again,
        ));
    }
    let Some(target) = target else {
        let text = "The address to go on to is not one of those that are allowed.";
        return Ok(failed(StatusCode::BAD_REQUEST, text, None));
    };
    let Some(provider) = login.provider(asked.provider.as_deref()) else {
        return Ok(choice(login, &asked));
    };
    let reason = DenyReason::ReauthenticationRequired;
    let again =
        asked.reason.as_deref() == Some(reason.as_str()) || denial.verdict == Verdict::Deny(reason);
    Ok(send(
        &contracts,
        login,
        provider,
        &target,
        again,
        &browser_request.headers,
    )
    .await)
}

/// Why the session that a browser presents does not open the page that it wants: as a check of that page would say,
/// and where that is allowed, `reauthentication_required` if a policy of any name asks for a more recent sign-in.
/// A proxy that does not hand on the reason of a denial (ingress-nginx) leaves it to be found here, and the policy that
/// it names in the path of its checks is not known here.
pub(super) async fn denial(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    target: Option<&str>,
) -> Outcome {
    let passive = Activity::Passive(Passivity::Rule);
    let checker = &contracts.checker;
    // A browser sends no fragment, so no check sees one.
    let target = target.and_then(|target| target.split('#').next());
    let url = target.and_then(|target| OriginalUrl::parse(target.as_bytes()).ok());
    let Ok(mut request) = browser_request.request() else {
        return Outcome::denied(DenyReason::MalformedRequest);
    };
    if let Some(url) = url {
        request.original = Ok(Original {
            method: &Method::GET,
            url,
        });
    }
    let outcome = checker.evaluate_passively(&request, passive).await;
    let (Verdict::Allow, Some((_, session))) = (outcome.verdict, &outcome.session) else {
        return outcome;
    };
    let policies = &checker.lifecycle.policies;
    let ages = policies
        .iter()
        .filter_map(|(_, policy)| policy.limits_for(session).max_auth_age);
    let Some(shortest) = ages.min() else {
        return outcome;
    };
    let age = checker.lifecycle.clock.now().since(session.started);
    if age < shortest {
        return outcome;
    }
    Outcome {
        verdict: Verdict::Deny(DenyReason::ReauthenticationRequired),
        max_auth_age: Some(shortest.as_secs()),
        ..outcome
    }
}

/// Sends a browser to a provider.
pub(super) async fn send(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    target: &str,
    again: bool,
    headers: &HeaderMap,
) -> Response {
    match attempt(contracts, login, provider, target, again).await {
        Ok((address, cookie)) => {
            let mut response = private(StatusCode::SEE_OTHER);
            let own = response.headers_mut();
            own.insert(LOCATION, address);
            for cookie in removals(headers, login) {
                own.append(SET_COOKIE, cookie);
            }
            own.append(SET_COOKIE, cookie);
            response
        }
        Err(error) => {
            tracing::warn!(provider = provider.name(), %error, "nobody can sign in");
            contracts
                .checker
                .lifecycle
                .metrics
                .login(provider.name(), error.as_str());
            let text =
                "The identity provider can not be reached right now. Please try again in a moment.";
            failed(StatusCode::SERVICE_UNAVAILABLE, text, Some(target))
        }
    }
}

/// Where the browser goes, and the cookie that it comes back with.
async fn attempt(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    target: &str,
    again: bool,
) -> Result<(HeaderValue, HeaderValue), LoginError> {
    let lifecycle = &contracts.checker.lifecycle;
    let unavailable = |why: &dyn ToString| LoginError::Unavailable(why.to_string());
    let policy = Login::policy(provider, &lifecycle.policies);
    let (_, policy) = policy.ok_or_else(|| unavailable(&"its policy is gone"))?;
    let max_age = login.max_age(policy, &Attributes::default());
    let now = lifecycle.clock.now();
    let begun = login.begin(provider, target, again, max_age, now);
    let (url, name, value) = begun.await?;
    let cookie = passing(&name, &value, login.secure);
    let header = |text: &str| HeaderValue::from_str(text).map_err(|error| unavailable(&error));
    Ok((header(url.as_str())?, header(&cookie.to_string())?))
}

/// Removals of the oldest attempts that a browser has, so that with a new one they are not too many.
fn removals(headers: &HeaderMap, login: &Login) -> Vec<HeaderValue> {
    let names = Attempt::names(headers, login.secure);
    let excess = (names.len() + 1).saturating_sub(ATTEMPTS);
    // The head of the answer must not grow with them.
    let oldest = names.into_iter().take(excess.min(MAX_REMOVALS));
    oldest
        .filter_map(|name| gone(name, "/", None, login.secure))
        .collect()
}

/// Where a person goes after the sign-in: to an address of an allowed host, as a browser reads it
/// (WHATWG URL), or to a path on Curfew's own; `None` for anything else (CWE-601).
pub(super) fn target(contracts: &Contracts, login: &Login, asked: Option<&str>) -> Option<String> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Some(login.url.to_string());
    };
    let url = if asked.starts_with('/') {
        login.url.join(signed_out::way_back(asked)).ok()?
    } else {
        Url::parse(asked).ok()?
    };
    let sign_in = contracts.sign_in.as_ref()?;
    let url = sign_in.raise(url);
    if !sign_in.may_go_to(&url) {
        return None;
    }
    // Signing in to sign in would never end.
    let path = url.path();
    let within = path == PREFIX || path.starts_with("/.curfew/");
    let text = url.to_string();
    if within || text.len() > LONGEST_TARGET {
        return url.join("/").ok().map(String::from);
    }
    Some(text)
}

/// Lets a person choose a provider.
fn choice(login: &Login, asked: &Asked) -> Response {
    let ways: Vec<_> = login
        .providers
        .values()
        .map(|provider| {
            let words = format!("Sign in with {}", provider.settings.title);
            (asked.at(provider.name()), words)
        })
        .collect();
    page("Sign in", "Choose where to sign in.", &ways)
}

/// Says why nobody was signed in.
pub(super) fn failed(status: StatusCode, text: &str, target: Option<&str>) -> Response {
    let mut query = Serializer::new(String::new());
    if let Some(target) = target {
        query.append_pair("rd", target);
    }
    let again = format!("{PREFIX}/login?{}", query.finish());
    let mut response = page("Not signed in", text, &[(again, "Try again".to_owned())]);
    *response.status_mut() = status;
    response
}
