//! Checks whether the person must authenticate again after the timeout. The probe follows the redirects that start at
//! the protected page.
//!
//! A browser has cookies of the identity provider, but the probe has them only with `--provider-cookie`. Without these
//! cookies, the probe checks the request to the provider, but not the provider's answer.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use cookie::Cookie;
use http::header::SET_COOKIE;
use reqwest::Response;
use url::Url;

use super::client::{Answer, ProbeClient, classify, redirect_target};
use super::report::Report;
use crate::secret::Secret;

/// The maximum number of redirects that the probe follows; a sign-in has fewer.
const MAX_REDIRECTS: usize = 20;
const REQUEST_STEP: &str =
    "after the idle limit, the identity provider is asked to authenticate the person again";
const RETURN_STEP: &str = "after the idle limit, the identity provider's session gives no access";

/// A browser's session at the identity provider.
pub(super) struct ProviderSession {
    /// The address of the provider.
    pub(super) url: Url,
    /// The provider's cookies, as `NAME=VALUE; NAME=VALUE`.
    pub(super) cookie: Secret<String>,
}

/// A cookie jar. Each cookie belongs to a host or domain and is sent only there.
#[derive(Default)]
struct CookieJar(BTreeMap<(String, String), String>);

impl CookieJar {
    fn add_pairs(&mut self, url: &Url, pairs: &str) {
        for pair in pairs.split(';') {
            if let Some((name, value)) = pair.split_once('=') {
                self.insert(url, name.trim(), value.trim());
            }
        }
    }

    fn insert(&mut self, url: &Url, name: &str, value: &str) {
        let host = url.host_str().unwrap_or_default().to_owned();
        self.0.insert((host, name.to_owned()), value.to_owned());
    }

    /// Stores the cookies that a response sets.
    fn store(&mut self, response: &Response) {
        for line in response.headers().get_all(SET_COOKIE) {
            let Some(cookie) = line.to_str().ok().and_then(|line| Cookie::parse(line).ok()) else {
                continue;
            };
            let host = response.url().host_str().unwrap_or_default();
            let domain = cookie.domain().map(|it| it.trim_start_matches('.'));
            let domain = domain.filter(|domain| is_within(host, domain));
            let key = (domain.unwrap_or(host).to_owned(), cookie.name().to_owned());
            let is_removal = cookie.max_age().is_some_and(|age| !age.is_positive());
            if is_removal || cookie.value().is_empty() {
                self.0.remove(&key);
            } else {
                self.0.insert(key, cookie.value().to_owned());
            }
        }
    }

    fn cookie_header(&self, url: &Url) -> Secret<String> {
        let host = url.host_str().unwrap_or_default();
        let matching = self
            .0
            .iter()
            .filter(|((domain, _), _)| is_within(host, domain));
        let pairs: Vec<_> = matching
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        Secret::new(pairs.join("; "))
    }
}

/// Whether a host is this domain or a subdomain.
fn is_within(host: &str, domain: &str) -> bool {
    let prefix = host.strip_suffix(domain);
    prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

/// The result of following the redirects.
enum RedirectEnd {
    /// The redirects end at the identity provider, with this request.
    AuthorizationRequest(Url),
    /// The redirects end at the protected page.
    ProtectedPage(Answer),
    /// The redirects end at another page with this status code.
    OtherPage(Url, u16),
    /// The probe could not follow the redirects, for this reason.
    Failed(String),
}

/// Requests `page` with the cookies of an ended session, follows the redirects, and reports the result.
pub(super) async fn check(
    client: &ProbeClient,
    page: &Url,
    session: &Secret<String>,
    provider: Option<&ProviderSession>,
    idle: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut jar = CookieJar::default();
    jar.add_pairs(page, session.expose());
    if let Some(provider) = provider {
        if provider.url.host_str().is_none() {
            bail!(
                "--provider: must be the address of an identity provider, such as https://id.example.com/"
            );
        }
        jar.add_pairs(&provider.url, provider.cookie.expose());
    }
    let mut authorization_request = None;
    let end = follow_redirects(
        client,
        page,
        &mut jar,
        provider.is_some(),
        &mut authorization_request,
    )
    .await;
    if let Some(request) = &authorization_request {
        report_authorization_request(request, idle, report);
    }
    match end {
        RedirectEnd::ProtectedPage(answer) => report.expect_not_served(RETURN_STEP, &answer),
        RedirectEnd::OtherPage(url, code) if provider.is_some() => {
            let seen = format!("the redirects end at another page, {code} {}", without_query(&url));
            report.expect_not_served(RETURN_STEP, &Answer::Refused(seen));
        }
        RedirectEnd::AuthorizationRequest(url) => report.add_unknown(
            RETURN_STEP,
            &format!(
                "not checked: whether {} asks for credentials; give --provider and --provider-cookie",
                url.origin().ascii_serialization()
            ),
        ),
        RedirectEnd::OtherPage(url, code) => {
            let text = format!("not checked: the redirects end at another page, {code} {}", without_query(&url));
            report.add_unknown(RETURN_STEP, &text);
        }
        RedirectEnd::Failed(why) => report.add_unknown(RETURN_STEP, &format!("not checked: {why}")),
    }
    Ok(())
}

/// Reports whether an authorization request makes the provider authenticate the person again.
fn report_authorization_request(request: &Url, idle: Duration, report: &mut Report) {
    let origin = request.origin().ascii_serialization();
    let value = |wanted: &str| {
        let mut pairs = request.query_pairs();
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let prompt = value("prompt").filter(|prompt| prompt.split(' ').any(|word| word == "login"));
    let max_age = value("max_age").and_then(|age| age.parse().ok());
    let max_age = max_age.filter(|age: &u64| *age <= idle.as_secs());
    match (prompt, max_age) {
        (Some(_), _) => report.add_passed(REQUEST_STEP, &format!("prompt=login, for {origin}")),
        (None, Some(age)) => report.add_passed(REQUEST_STEP, &format!("max_age={age}, for {origin}")),
        (None, None) => report.add_unknown(
            REQUEST_STEP,
            &format!(
                "the request to {origin} does not ask for a new authentication: it has neither prompt=login nor a max_age up to the idle limit"
            ),
        ),
    }
}

/// Follows the redirects that start at `page`. Stops at the request to the identity provider unless
/// `continue_past_provider` is set. Stores that request in `authorization_request`.
async fn follow_redirects(
    client: &ProbeClient,
    page: &Url,
    jar: &mut CookieJar,
    continue_past_provider: bool,
    authorization_request: &mut Option<Url>,
) -> RedirectEnd {
    let mut url = page.clone();
    for step in 0..MAX_REDIRECTS {
        let response = match client
            .fetch(&url, Some(&jar.cookie_header(&url)), &[])
            .await
        {
            Ok(response) => response,
            Err(Answer::Error(why)) => return RedirectEnd::Failed(why),
            Err(answer) => return RedirectEnd::ProtectedPage(answer),
        };
        jar.store(&response);
        let is_protected_page =
            step > 0 && url.origin() == page.origin() && url.path() == page.path();
        let next = redirect_target(&response);
        if is_protected_page {
            return RedirectEnd::ProtectedPage(classify(&response));
        }
        let Some(next) = next else {
            let code = response.status().as_u16();
            if step == 0 {
                return RedirectEnd::Failed(format!(
                    "the denial ({code}) does not redirect to a sign-in page"
                ));
            }
            return RedirectEnd::OtherPage(url, code);
        };
        if url.scheme() == "https" && next.scheme() != "https" {
            return RedirectEnd::Failed("a redirect leads from https to http".to_owned());
        }
        if authorization_request.is_none() && is_authorization_request(&next) {
            *authorization_request = Some(next.clone());
            if !continue_past_provider {
                return RedirectEnd::AuthorizationRequest(next);
            }
        }
        url = next;
    }
    RedirectEnd::Failed(format!("there are more than {MAX_REDIRECTS} redirects"))
}

/// Whether an address is an authorization request (RFC 6749, section 4.1.1).
fn is_authorization_request(url: &Url) -> bool {
    let has_parameter = |wanted: &str| url.query_pairs().any(|(name, _)| name == wanted);
    has_parameter("client_id") && (has_parameter("response_type") || has_parameter("request_uri"))
}

/// Formats a URL without its query, because a query can contain secrets.
fn without_query(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
