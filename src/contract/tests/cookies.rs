//! No check clears Curfew's own cookies, whatever the reason, the client and the contract (ADR 16).

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use prost::Message as _;

use crate::check::{CheckRequest, ClientAddress, Detail, Original, OriginalUrl, Outcome};
use crate::contract::fixture::Fixture;
use crate::contract::reply::{ReplyForm, build_reply};
use crate::contract::{Contracts, ext_authz_grpc, is_navigation, spoe};
use crate::policy::Contract;
use crate::session::DenyReason;

/// Parts of the names of Curfew's cookies.
const CURFEW_COOKIE_NAMES: [&str; 2] = ["__Host-session", "curfew-"];
const DELEGATE_REMOVAL_COOKIE: &str = "_oauth2_proxy=; Max-Age=0";

/// Headers that distinguish the kinds of requests.
const HEADER_LINES: [(&str, &str); 9] = [
    ("accept", "text/html"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-dest", "iframe"),
    ("x-requested-with", "XMLHttpRequest"),
    ("sec-websocket-key", "x"),
    ("content-type", "application/grpc"),
    ("cookie", "__Host-session=a; __Host-session=b"),
    ("cookie", "__Host-session=a"),
];

/// Returns the `Set-Cookie` values of a reply over HTTP in both forms, then the whole gRPC reply and all SPOE
/// variables.
fn set_cookies(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
) -> [Vec<String>; 4] {
    let http_values = |form| {
        let response = build_reply(contracts, request, outcome, form);
        let values = response.headers().get_all(SET_COOKIE).into_iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    };
    let complete_reply = || build_reply(contracts, request, outcome, ReplyForm::Complete);
    let grpc = ext_authz_grpc::check_response(outcome, complete_reply(), &HeaderMap::new())
        .encode_to_vec();
    let variables = spoe::variable_actions(contracts, outcome, &complete_reply());
    [
        http_values(ReplyForm::StatusOnly),
        http_values(ReplyForm::Complete),
        vec![String::from_utf8_lossy(&grpc).into_owned()],
        vec![format!("{variables:?}")],
    ]
}

proptest! {
    #[test]
    fn no_check_clears_a_cookie_of_curfew(
        reason in select(&DenyReason::ALL[..]),
        header_lines in subsequence(&HEADER_LINES[..], 0..=HEADER_LINES.len()),
        method in select(&[Method::GET, Method::POST, Method::HEAD, Method::OPTIONS][..]),
        (is_delegated, is_readable, has_two_cookies) in any::<(bool, bool, bool)>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = runtime.block_on(Fixture::new());
        let contracts = fixture.contracts.current();
        let mut headers = HeaderMap::new();
        for (name, value) in header_lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let url = OriginalUrl::parse(b"https://app.example.com/a").unwrap();
        let original = Original::new(&method, url);
        let request = CheckRequest {
            contract: Contract::ForwardAuth,
            policy: None,
            original: if is_readable { Ok(original) } else { Err(crate::check::MalformedOriginal::missing("X")) },
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        let outcome = Outcome {
            removal_cookie: is_delegated.then_some(HeaderValue::from_static(DELEGATE_REMOVAL_COOKIE)),
            detail: has_two_cookies.then_some(Detail::TwoCookies),
            ..Outcome::denied(reason)
        };
        let expects_removal = is_delegated
            && is_readable
            && reason.is_terminal()
            && is_navigation(&method, &headers);
        for (contract, answers) in set_cookies(&contracts, &request, &outcome).into_iter().enumerate() {
            let found = answers.iter().any(|answer| answer.contains(DELEGATE_REMOVAL_COOKIE));
            prop_assert_eq!(found, expects_removal, "{} {:?}", contract, answers);
            for (answer, own) in answers.iter().flat_map(|it| CURFEW_COOKIE_NAMES.map(|own| (it, own))) {
                let set = answer.contains(own);
                prop_assert!(!set, "{} {}", contract, answer);
            }
        }
    }
}
