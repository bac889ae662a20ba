//! The test cases, which run with every proxy.

mod browser;
mod cookies;
mod denial;
mod failure;
mod forgery;
mod paths;
mod probe;
mod protocols;
mod rules;
mod sessions;
mod streams;
mod traffic;

use std::pin::Pin;

use crate::harness::Harness;

/// One row of the matrix.
pub struct Case {
    pub number: &'static str,
    pub title: &'static str,
    pub run: for<'a> fn(&'a mut Harness) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

macro_rules! cases {
    ($($number:literal $title:literal $run:path,)*) => {
        &[$(Case {
            number: $number,
            title: $title,
            run: |harness| Box::pin($run(harness)),
        },)*]
    };
}

pub const CASES: &[Case] = cases![
    "1" "A request with a live session reaches the application once; status and body come back unchanged" sessions::live_session,
    "2" "Without a session, or with an unknown or forged session, the answer is 401, and the application is not reached" denial::no_session_denied,
    "3" "An idle session is denied, and the client can see why" sessions::idle_limit,
    "4" "Steady activity does not extend the absolute limit" sessions::absolute_limit,
    "5a" "Requests within the idle limit keep a session alive" sessions::activity_extends_session,
    "5b" "Requests that declare themselves passive do not keep a session alive" sessions::passive_requests,
    "5c" "Requests that a rule declares passive do not keep a session alive" rules::passive_rule,
    "6" "Every request is checked, and the check leaves no trace in it" traffic::every_request_is_checked,
    "7" "A JSON POST arrives whole; the check gets no body" traffic::json_post,
    "7b" "Uploads arrive whole, and a denied upload gets 401" traffic::upload,
    "8a" "A browser's navigation is redirected, with the exact return address" denial::navigation_redirected,
    "8b" "Scripts, forms and frames get 401, never a redirect" denial::other_requests_not_redirected,
    "8c" "The body of a denial is JSON, or HTML for clients that accept HTML" denial::body_of_denial,
    "8d" "A navigation to a very long address is redirected or denied, and never causes an error" denial::long_navigation,
    "8e" "A frame gets 401 and a link for the whole window" denial::frame_denied,
    "8f" "A host that the configuration does not name is denied, without a redirect" denial::unknown_host_denied,
    "9" "Denials never clear a cookie of Curfew; the signed-out page clears it" cookies::denials_keep_cookies,
    "9b" "A cookie that another service refreshes arrives with an allowed answer" cookies::service_cookie_reaches_client,
    "9c" "Several cookies of another service arrive, with any status" cookies::several_service_cookies_reach_client,
    "10" "The application's own cookies come back untouched, with any status" cookies::application_cookies_unchanged,
    "11" "Forged X-Forwarded-*, X-Original-*, X_Forwarded_* change no decision" forgery::forged_router_inputs,
    "12a" "A forged identity in any spelling does not reach the application" forgery::forged_identity,
    "12b" "A forged identity does not reach the application on a public path" forgery::forged_identity_on_public_path,
    "13" "`Connection: Cookie, X-Session-User` neither gives access nor removes the identity" forgery::connection_header,
    "14a" "Two session cookies that differ are denied, on one line or on two" cookies::two_session_cookies_denied,
    "14c" "A navigation with two session cookies is redirected to a page that clears them" cookies::ambiguous_cookies_are_cleared,
    "14b" "HTTP/2 cookie crumbs are one cookie" cookies::cookie_crumbs,
    "15" "No path trick gives access past the public path" paths::path_tricks,
    "15b" "No path trick gives access past the public paths of Curfew's rules" paths::path_tricks_with_rules,
    "16" "A preflight is a passive request; a GET that claims to be a preflight is not passive" forgery::forged_preflight,
    "16b" "A rule lets preflights pass without a session; a GET that claims to be a preflight is denied" rules::preflight_rule,
    "17a" "A WebSocket opens with a session, and is denied without one" protocols::web_socket,
    "17b" "An event stream flows as it is written" protocols::event_stream,
    "17c" "An upgrade to h2c is not forwarded, with a session or without" protocols::no_other_upgrade,
    "18" "Methods and conditional headers reach the application" traffic::methods,
    "19a" "While Redis is down or hangs, requests are denied; sessions survive" failure::redis_down,
    "20a" "Headers of 8, 16 and 60 kB are accepted or rejected, never misread" traffic::large_headers,
    "20b" "A request with one header of 60 kB is served" traffic::header_of_60_kilobytes,
    "20d" "A person in many groups, with an identity of 4 kB, is served" traffic::large_identity,
    "20c" "A gRPC client without a session gets UNAUTHENTICATED" protocols::grpc_denial,
    "21" "A revoked session is denied on the next request" sessions::revoked_session,
    "22" "Many clients at once never get each other's answers" traffic::many_clients,
    "23" "A subject beyond ASCII arrives intact" sessions::subject_beyond_ascii,
    "24" "The body of a denied request is not read as another request" traffic::no_smuggling,
    "25" "A person without the group that a rule requires gets 403, and stays signed in" rules::groups_rule,
    "26" "The policy of a rule denies only the requests of that rule" rules::policy_rule,
    "27" "A bound session is denied at another address and for another client" rules::bound_session,
    "30" "`curfew probe` finds that idle sessions end" probe::finds_no_fault,
    "31" "`curfew probe` fails where the proxy's file is broken" probe::finds_faults,
    "28" "Another policy applies if you follow the comment in the file" sessions::other_policy,
    "32a" "A WebSocket, in any spelling, ends with its session if the file sends streams to Curfew" streams::web_socket_ends,
    "32b" "An event stream ends with its session if the file sends streams to Curfew" streams::event_stream_ends,
    "29" "A browser gets the session's remaining time, keeps it alive, and signs out" browser::endpoints,
    "29b" "However a path is written, a browser gets no answer of a check" browser::no_answer_of_a_check,
    "19b" "While Curfew hangs, requests are denied; when it continues, they are allowed again" failure::curfew_hangs,
    "19c" "While Curfew is down, requests are denied" failure::curfew_down,
];
