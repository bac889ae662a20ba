use std::sync::atomic::Ordering;

use spop::encode_varint_into;

use super::*;
use crate::contract::fixture::Fixture;
use crate::testing::MINUTE;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn encode_headers(header_lines: &[(&str, &str)]) -> TypedData {
    let mut bytes = Vec::new();
    for (name, value) in header_lines.iter().chain([&("", "")]) {
        for text in [name, value] {
            encode_varint_into(text.len() as u64, &mut bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    TypedData::Binary(bytes)
}

fn string(text: &str) -> TypedData {
    TypedData::String(text.to_owned())
}

/// Returns the message that HAProxy sends, with some arguments replaced.
pub(in crate::contract) fn check_message(
    header_lines: &[(&str, &str)],
    replaced: &[(&str, TypedData)],
) -> Message {
    let mut args = vec![
        ("method".to_owned(), string("GET")),
        ("scheme".to_owned(), string("https")),
        ("host".to_owned(), string("app.example.com")),
        ("path".to_owned(), string("/a%2Fb?c=d")),
        ("headers".to_owned(), encode_headers(header_lines)),
        ("policy".to_owned(), TypedData::Null),
    ];
    for (name, value) in replaced {
        let arg = args.iter_mut().find(|(known, _)| known == name).unwrap();
        arg.1 = value.clone();
    }
    Message {
        name: "check".to_owned(),
        args,
    }
}

pub(in crate::contract) async fn send_check(
    fixture: &Fixture,
    message: &Message,
) -> Vec<(String, TypedData)> {
    let actions = fixture.agent().answer(message, PEER).await;
    let variables = actions.into_iter().map(|action| match action {
        Action::SetVar {
            scope: VarScope::Transaction,
            name,
            value,
        } => (name, value),
        other => panic!("{other:?}"),
    });
    variables.collect()
}

pub(in crate::contract) fn variable<'a>(
    variables: &'a [(String, TypedData)],
    name: &str,
) -> Option<&'a TypedData> {
    let found = variables.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value)
}

#[tokio::test]
async fn allow_sets_the_whole_identity() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let variables = send_check(&fixture, &check_message(&[("cookie", &cookie)], &[])).await;
    for (name, value) in [
        ("verdict", "allow"),
        ("user", "alice"),
        ("groups", "staff,admin"),
        ("email", "alice@example.com"),
        ("policy", "default"),
    ] {
        assert_eq!(variable(&variables, name), Some(&string(value)), "{name}");
    }
    assert_eq!(variable(&variables, "status"), Some(&TypedData::Int32(200)));
    assert!(variable(&variables, "id").is_some());
    for name in ["reason", "set_cookie", "location", "challenge", "body"] {
        assert_eq!(variable(&variables, name), None, "{name}");
    }
}

#[tokio::test]
async fn a_denial_sets_all_variables_of_the_rules() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(15 * MINUTE);
    let cookie = fixture.cookie();
    let variables = send_check(&fixture, &check_message(&[("cookie", &cookie)], &[])).await;
    assert_eq!(variable(&variables, "verdict"), Some(&string("deny")));
    assert_eq!(variable(&variables, "status"), Some(&TypedData::Int32(401)));
    assert_eq!(
        variable(&variables, "reason"),
        Some(&string("idle_timeout"))
    );
    assert_eq!(variable(&variables, "set_cookie"), None);
    assert!(variable(&variables, "challenge").is_some());
    assert!(variable(&variables, "body").is_some());
    assert_eq!(variable(&variables, "user"), None);

    let navigate = check_message(&[("sec-fetch-mode", "navigate")], &[]);
    let variables = send_check(&fixture, &navigate).await;
    assert_eq!(variable(&variables, "status"), Some(&TypedData::Int32(302)));
    let location = "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%3Fc%3Dd&reason=no_credential";
    assert_eq!(variable(&variables, "location"), Some(&string(location)));

    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let variables = send_check(&fixture, &check_message(&[("cookie", &cookie)], &[])).await;
    assert_eq!(variable(&variables, "status"), Some(&TypedData::Int32(503)));
}

#[tokio::test]
async fn a_missing_input_is_not_guessed() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let cookie = [("cookie", &*cookie)];
    for (name, value) in [
        ("method", TypedData::Null),
        ("method", string("GET /")),
        ("scheme", TypedData::Bool(true)),
        ("scheme", string("")),
        ("host", string("a,b")),
        ("host", TypedData::Null),
        ("path", string("https://evil.example/")),
        ("path", TypedData::Null),
        ("headers", TypedData::Null),
        ("headers", TypedData::Binary(vec![1])),
        ("policy", string("nonesuch")),
        ("policy", string("")),
        ("policy", TypedData::Int32(1)),
    ] {
        let variables =
            send_check(&fixture, &check_message(&cookie, &[(name, value.clone())])).await;
        let reason = variable(&variables, "reason");
        assert_eq!(
            reason,
            Some(&string("malformed_request")),
            "{name} {value:?}"
        );
    }
    for policy in [string("strict"), TypedData::Binary(b"strict".to_vec())] {
        let variables = send_check(&fixture, &check_message(&cookie, &[("policy", policy)])).await;
        assert_eq!(variable(&variables, "verdict"), Some(&string("allow")));
    }
    let unknown = Message {
        name: "log".to_owned(),
        args: Vec::new(),
    };
    assert!(send_check(&fixture, &unknown).await.is_empty());
}
