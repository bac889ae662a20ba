use axum::extract::RawQuery;
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use super::browser_request::BrowserRequest;
use super::cookies::{attempt_cookie, removal_cookie};
use super::page::render_page;
use super::{PREFIX, clear_cookies, framed, private_response, signed_out};
use crate::check::{Original, OriginalUrl, Outcome};
use crate::contract::{Contracts, is_framed};
use crate::current::Current;
use crate::login::{Attempt, Login, LoginError, Provider};
use crate::policy::{Activity, PassiveReason};
use crate::session::{Attributes, DenyReason, Verdict};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// The maximum number of open attempts of a browser. An attempt is one sign-in with a provider, and has a cookie of
/// about 80 bytes. Beyond the maximum, the cookies of the oldest attempts are deleted.
const MAX_OPEN_ATTEMPTS: usize = 20;
/// The maximum number of attempt cookies that one response deletes.
const MAX_DELETED_ATTEMPTS: usize = 8;
/// The maximum size of a target address. The redirect contains the address in `state`, and the response head of the
/// redirect must fit in NGINX's buffer of 4 KiB.
const MAX_TARGET_BYTES: usize = 1024;

/// The query of the sign-in page.
#[derive(Debug, Default)]
struct LoginQuery {
    /// The name of the provider.
    provider: Option<String>,
    /// The target address after the sign-in.
    rd: Option<String>,
    /// The reason of the denial that sent the browser to this page.
    reason: Option<String>,
}

impl LoginQuery {
    fn new(query: &str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            let field = match &*name {
                "provider" => &mut parsed.provider,
                "rd" => &mut parsed.rd,
                "reason" => &mut parsed.reason,
                _ => continue,
            };
            // If a parameter is repeated, the first value counts.
            field.get_or_insert_with(|| value.into_owned());
        }
        parsed
    }

    /// Returns the address of this page with the same query.
    fn same_address(&self) -> String {
        self.format_address(self.provider.as_deref())
    }

    /// Returns the address of this page with the same query and this provider.
    fn address_for(&self, provider: &str) -> String {
        self.format_address(Some(provider))
    }

    fn format_address(&self, provider: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        let parameters = [
            ("provider", provider),
            ("rd", self.rd.as_deref()),
            ("reason", self.reason.as_deref()),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("{PREFIX}/login?{}", query.finish())
    }
}

/// `GET /.curfew/login?rd=…&reason=…`: redirects to the identity provider, or lets the person choose one.
pub(super) async fn begin(
    Current(contracts): Current<Contracts>,
    RawQuery(query): RawQuery,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    let login = contracts.login.as_deref().ok_or(StatusCode::NOT_FOUND)?;
    // Providers do not allow their sign-in pages in frames, so offer a link that opens the whole window.
    if is_framed(&browser_request.method, &browser_request.headers) {
        return Ok(framed::framed_page());
    }
    let query = LoginQuery::new(query.as_deref().unwrap_or(""));
    let target = allowed_target(&contracts, login, query.rd.as_deref());
    let outcome = evaluate_target(&contracts, &browser_request, target.as_deref()).await;
    // ingress-nginx redirects not only navigations but also scripts to this page. A script gets the denial: it cannot
    // follow a redirect to the provider's host, so an attempt would only leave a cookie.
    let is_from_script = browser_request
        .headers
        .get(SEC_FETCH_MODE)
        .is_some_and(|mode| mode != "navigate");
    if is_from_script {
        let request = browser_request.to_check_request()?;
        let denial = Outcome {
            verdict: match outcome.verdict {
                // The proxy denied the page, but this evaluation allows it. Assume that the path of the proxy's check
                // names an additional policy, and that this policy requires a more recent sign-in.
                Verdict::Allow => Verdict::Deny(DenyReason::ReauthenticationRequired),
                denied @ Verdict::Deny(_) => denied,
            },
            ..outcome
        };
        return Ok(private_response(contracts.denial(&request, &denial)));
    }
    // With other proxies, a check redirects a browser with ambiguous cookies to the page that clears them.
    // ingress-nginx redirects every browser to the sign-in page instead, so clear the cookies here.
    if !contracts
        .checker
        .sources
        .ambiguous_cookies(&browser_request.headers)
        .is_empty()
    {
        let retry = query.same_address();
        return Ok(clear_cookies::clear(
            &contracts,
            &browser_request,
            &retry,
            &retry,
        ));
    }
    let Some(target) = target else {
        let text = "The return address is not allowed.";
        return Ok(sign_in_failed_page(StatusCode::BAD_REQUEST, text, None));
    };
    let Some(provider) = login.provider(query.provider.as_deref()) else {
        return Ok(provider_choice_page(login, &query));
    };
    let reason = DenyReason::ReauthenticationRequired;
    let reauthenticate = query.reason.as_deref() == Some(reason.as_str())
        || outcome.verdict == Verdict::Deny(reason);
    Ok(redirect_to_provider(
        &contracts,
        login,
        provider,
        &target,
        reauthenticate,
        &browser_request.headers,
    )
    .await)
}

/// Checks the target page with the browser's session, and returns the outcome. The outcome shows why the proxy denied
/// the target page, even if the proxy does not pass the reason on (ingress-nginx).
///
/// The path of the proxy's check can name an additional policy, which is unknown here. Therefore, if the session
/// allows the page, but any configured policy requires a more recent sign-in, the outcome is a denial with
/// `reauthentication_required`.
pub(super) async fn evaluate_target(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    target: Option<&str>,
) -> Outcome {
    let passive = Activity::Passive(PassiveReason::Rule);
    let checker = &contracts.checker;
    // Remove the fragment: browsers do not send it, so the proxy's check did not contain it.
    let target = target.and_then(|target| target.split('#').next());
    let url = target.and_then(|target| OriginalUrl::parse(target.as_bytes()).ok());
    let Ok(mut request) = browser_request.to_check_request() else {
        return Outcome::denied(DenyReason::MalformedRequest);
    };
    if let Some(url) = url {
        request.original = Ok(Original::new(&Method::GET, url));
    }
    let outcome = checker.evaluate_passively(&request, passive).await;
    let (Verdict::Allow, Some((_, session))) = (outcome.verdict, &outcome.session) else {
        return outcome;
    };
    let policies = &checker.rulebook.policies;
    let ages = policies
        .iter()
        .filter_map(|(_, policy)| policy.limits_for(session).max_auth_age);
    let Some(shortest) = ages.min() else {
        return outcome;
    };
    let age = checker.clock.now().since(session.started);
    if age < shortest {
        return outcome;
    }
    Outcome {
        verdict: Verdict::Deny(DenyReason::ReauthenticationRequired),
        max_auth_age: Some(shortest.as_secs()),
        ..outcome
    }
}

/// Redirects a browser to a provider.
pub(super) async fn redirect_to_provider(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    target: &str,
    reauthenticate: bool,
    headers: &HeaderMap,
) -> Response {
    match start_attempt(contracts, login, provider, target, reauthenticate).await {
        Ok((address, cookie)) => {
            let mut response = private_response(StatusCode::SEE_OTHER);
            let response_headers = response.headers_mut();
            response_headers.insert(LOCATION, address);
            for cookie in excess_attempt_removals(headers, login) {
                response_headers.append(SET_COOKIE, cookie);
            }
            response_headers.append(SET_COOKIE, cookie);
            response
        }
        Err(error) => {
            tracing::warn!(provider = provider.name(), %error, "could not start a sign-in");
            contracts
                .checker
                .metrics
                .count_login(provider.name(), error.as_str());
            let text =
                "The identity provider cannot be reached right now. Please try again in a moment.";
            sign_in_failed_page(StatusCode::SERVICE_UNAVAILABLE, text, Some(target))
        }
    }
}

/// Starts an attempt. Returns the address of the provider and the attempt's cookie.
async fn start_attempt(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    target: &str,
    reauthenticate: bool,
) -> Result<(HeaderValue, HeaderValue), LoginError> {
    let checker = &contracts.checker;
    let unavailable = |why: &dyn ToString| LoginError::Unavailable(why.to_string());
    let policy = Login::policy(provider, &checker.rulebook.policies);
    let (_, policy) =
        policy.ok_or_else(|| unavailable(&"the policy of the provider is not configured"))?;
    let max_age = login.max_age(policy, &Attributes::default());
    let now = checker.clock.now();
    let started = login.begin(provider, target, reauthenticate, max_age, now);
    let (url, name, value) = started.await?;
    let cookie = attempt_cookie(&name, &value, login.secure);
    let header = |text: &str| HeaderValue::from_str(text).map_err(|error| unavailable(&error));
    Ok((header(url.as_str())?, header(&cookie.to_string())?))
}

/// Returns `Set-Cookie` values that delete the oldest attempts, so that the browser can start one more.
fn excess_attempt_removals(headers: &HeaderMap, login: &Login) -> Vec<HeaderValue> {
    let names = Attempt::cookie_names(headers, login.secure);
    let excess = (names.len() + 1).saturating_sub(MAX_OPEN_ATTEMPTS);
    // Limit the number of deletions, because the response head must not become too large.
    let oldest = names.into_iter().take(excess.min(MAX_DELETED_ATTEMPTS));
    oldest
        .filter_map(|name| removal_cookie(name, "/", None, login.secure))
        .collect()
}

/// Returns the target address after the sign-in. `requested` must be the address of an allowed host, parsed as
/// browsers parse it (WHATWG URL), or a path on Curfew's own host. Returns `None` for any other text (CWE-601).
pub(super) fn allowed_target(
    contracts: &Contracts,
    login: &Login,
    requested: Option<&str>,
) -> Option<String> {
    let Some(requested) = requested.filter(|requested| !requested.is_empty()) else {
        return Some(login.url.to_string());
    };
    let url = if requested.starts_with('/') {
        login.url.join(signed_out::return_path(requested)).ok()?
    } else {
        Url::parse(requested).ok()?
    };
    let sign_in = contracts.sign_in.as_ref()?;
    let url = sign_in.upgrade_to_https(url);
    if !sign_in.may_redirect_to(&url) {
        return None;
    }
    // Replace a target that is too long, or that is a page of Curfew, with the root of the host. With a page of Curfew
    // as the target, such as the sign-in page, the browser could be redirected without end.
    let path = url.path();
    let is_own_page = path == PREFIX || path.starts_with("/.curfew/");
    let text = url.to_string();
    if is_own_page || text.len() > MAX_TARGET_BYTES {
        return url.join("/").ok().map(String::from);
    }
    Some(text)
}

/// Builds the page where a person chooses a provider.
fn provider_choice_page(login: &Login, query: &LoginQuery) -> Response {
    let links: Vec<_> = login
        .providers
        .values()
        .map(|provider| {
            let label = format!("Sign in with {}", provider.settings.title);
            (query.address_for(provider.name()), label)
        })
        .collect();
    render_page("Sign in", "Choose where to sign in.", &links)
}

/// Builds the page for a failed sign-in, with a link to try again.
pub(super) fn sign_in_failed_page(
    status: StatusCode,
    text: &str,
    target: Option<&str>,
) -> Response {
    let mut query = Serializer::new(String::new());
    if let Some(target) = target {
        query.append_pair("rd", target);
    }
    let retry = format!("{PREFIX}/login?{}", query.finish());
    let mut response = render_page("Not signed in", text, &[(retry, "Try again".to_owned())]);
    *response.status_mut() = status;
    response
}
