//! What the proxy listener forwards, for each client and each application (RFC 9110, 9112, 9113).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::application::TargetKind;
use crate::cells::{Cells, body};
use crate::fronts::Front;

#[tokio::test]
async fn a_request_and_its_answer_pass_with_their_bodies() {
    let cells = Cells::start().await;
    for cell in cells.all() {
        let request = cell
            .request("POST", "/a/b?c=d%20e")
            .header("x-session-user", "root")
            .header("X_Session_User", "root")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "https")
            .header("te", "trailers")
            .body(body("0123456789"))
            .unwrap();
        let answer = cell.send(request).await.unwrap();
        let name = cell.name();
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (200, "received 10 bytes"),
            "{name}"
        );
        assert!(
            answer.headers["via"].to_str().unwrap().ends_with(" curfew"),
            "{name}"
        );
        let (head, received, _) = cell.application.last_request();
        assert_eq!(head.method, "POST", "{name}");
        assert_eq!(head.uri.path_and_query().unwrap(), "/a/b?c=d%20e", "{name}");
        assert_eq!(received, "0123456789", "{name}");
        let host = crate::cells::host(cell.kind);
        let seen_host = match head.headers.get("host") {
            Some(host) => host.to_str().unwrap().to_owned(),
            None => head.uri.authority().unwrap().to_string(),
        };
        assert_eq!(seen_host, host, "{name}");
        for (header, expected) in [
            ("x-session-user", "alice"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", &*host),
            ("te", "trailers"),
        ] {
            let values: Vec<_> = head.headers.get_all(header).iter().collect();
            assert_eq!(values, [expected], "{name} {header}");
        }
        assert!(!head.headers.contains_key("x_session_user"), "{name}");
        assert!(!head.headers.contains_key("connection"), "{name}");
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let cells = Cells::start().await;
    for cell in cells.all() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "41".parse().unwrap());
        trailers.insert("x-session-user", "root".parse().unwrap());
        let frames = [
            Ok(Frame::data(Bytes::from("body"))),
            Ok(Frame::trailers(trailers)),
        ];
        let request = cell
            .request("POST", "/trailers")
            .header("trailer", "x-checksum, x-session-user")
            .header("te", "trailers")
            .body(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
            .unwrap();
        let answer = cell.send(request).await.unwrap();
        let name = cell.name();
        assert_eq!(answer.body, "body", "{name}");
        assert_eq!(answer.trailers.unwrap()["x-checksum"], "42", "{name}");
        let (_, _, received) = cell.application.last_request();
        let received = received.unwrap();
        assert_eq!(received["x-checksum"], "41", "{name}");
        assert!(
            !received.contains_key("x-session-user"),
            "{name}: a forged identity"
        );
    }
}

#[tokio::test]
async fn answers_without_a_body_pass() {
    let cells = Cells::start().await;
    for cell in cells.all() {
        let name = cell.name();
        let request = cell.request("HEAD", "/head").body(body("")).unwrap();
        let answer = cell.send(request).await.unwrap();
        assert_eq!(answer.headers["content-length"], "5", "{name}");
        assert_eq!(answer.body, "", "{name}");
        for removed in ["keep-alive", "x-hop"] {
            assert!(!answer.headers.contains_key(removed), "{name} {removed}");
        }
        let request = cell.request("GET", "/not-modified").body(body("")).unwrap();
        let answer = cell.send(request).await.unwrap();
        assert_eq!(answer.status, 304, "{name}");
        assert_eq!(answer.headers["etag"], "\"1\"", "{name}");
        let request = cell.request("GET", "/range").header("range", "bytes=1-2");
        let answer = cell.send(request.body(body("")).unwrap()).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (206, "bc"),
            "{name}"
        );
        assert_eq!(answer.headers["content-range"], "bytes 1-2/5", "{name}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_passes() {
    let cells = Cells::start().await;
    for cell in cells.all() {
        let chunks = stream::unfold(0, async |count| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (count < 1000).then(|| (Ok(Frame::data(Bytes::from("chunk"))), count + 1))
        });
        let request = cell.request("POST", "/early");
        let request = request
            .body(BodyExt::boxed(StreamBody::new(chunks)))
            .unwrap();
        let response = cell.front.send(cells.proxy, request).await;
        assert_eq!(response.status(), 413, "{}", cell.name());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_complete_for_the_client() {
    let cells = Cells::start().await;
    for cell in cells.all() {
        let request = cell.request("GET", "/reset").body(body("")).unwrap();
        let answer = cell.send(request).await;
        assert!(answer.is_err(), "{}: {answer:?}", cell.name());
    }
}

#[tokio::test]
async fn an_application_that_is_away_gets_502() {
    let cells = Cells::start().await;
    let dead = crate::support::loopback(crate::support::free_port());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("curfew.yaml");
    let yaml =
        format!("proxy: {{upstreams: [{{host: app.example.com, target: 'http://{dead}'}}]}}");
    std::fs::write(&path, yaml).unwrap();
    let proxy = crate::support::loopback(crate::support::free_port());
    let curfew = crate::support::curfew::Setup::memory()
        .config_file(&path)
        .set("LISTEN__PROXY", &proxy.to_string())
        .start();
    let session = curfew.sign_in("alice").await;
    for front in Front::ALL {
        let request = http::Request::builder()
            .uri("http://app.example.com/")
            .header("cookie", session.cookie());
        let response = front.send(proxy, request.body(body("")).unwrap()).await;
        assert_eq!(response.status(), 502, "{front:?}");
    }
    drop(cells);
}

/// Neither an upgrade to another version of HTTP nor a `Connection` header bypasses the check.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_bypass_the_check_or_remove_the_identity() {
    let cells = Cells::start().await;
    let cookie = cells.session.cookie();
    let head = format!("GET /x HTTP/1.1\r\nhost: http.example.com\r\ncookie: {cookie}\r\n");
    let answer = exchange(
        cells.proxy,
        &format!(
            "{head}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, application) = &cells.applications[0];
    let (request, ..) = application.last_request();
    for name in ["upgrade", "connection", "http2-settings"] {
        assert!(!request.headers.contains_key(name), "{name}");
    }
    let names = "X-Session-User, X-Session-Groups, X-Forwarded-For, X-Forwarded-Host, Host, Via";
    let answer = exchange(cells.proxy, &format!("{head}connection: {names}\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (request, ..) = application.last_request();
    for (name, expected) in [
        ("x-session-user", "alice"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "http.example.com"),
        ("host", "http.example.com"),
        ("via", "1.1 curfew"),
    ] {
        assert_eq!(request.headers[name], expected, "{name}");
    }
}

/// Sends bytes over HTTP/1.1, and returns everything that comes back until the connection is closed or quiet.
fn exchange(address: std::net::SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_is_answered_before_the_body() {
    let cells = Cells::start().await;
    let cookie = cells.session.cookie();
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: http.example.com\r\ncookie: {cookie}\r\ncontent-length: 4\r\n"
    );
    let answer = exchange(cells.proxy, &format!("{head}expect: 100-continue\r\n\r\n"));
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n"),
        "{answer}"
    );
    let answer = exchange(cells.proxy, &format!("{head}expect: a-miracle\r\n\r\nbody"));
    assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
    let denied = head.replace(&cookie, "a=b");
    let answer = exchange(
        cells.proxy,
        &format!("{denied}expect: 100-continue\r\n\r\n"),
    );
    assert!(
        answer.starts_with("HTTP/1.1 401 "),
        "a denied request needs no body: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_an_application_never_leave_curfew() {
    let cells = Cells::start().await;
    let cookie = cells.session.cookie();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: other.example.com\r\n", "421"),
        (
            "GET http://other.example.com/ HTTP/1.1\r\nhost: http.example.com\r\n",
            "421",
        ),
        (
            "GET / HTTP/1.1\r\nhost: http.example.com\r\nhost: http.example.com\r\n",
            "400",
        ),
        (
            "GET http://user@http.example.com/ HTTP/1.1\r\nhost: http.example.com\r\n",
            "400",
        ),
        (
            "CONNECT http.example.com:80 HTTP/1.1\r\nhost: http.example.com\r\n",
            "405",
        ),
        ("GET /healthz HTTP/1.1\r\nhost: anything\r\n", "200"),
        (
            "GET /.curfew/session HTTP/1.1\r\nhost: http.example.com\r\n",
            "200",
        ),
        (
            "GET /.curfew/unknown HTTP/1.1\r\nhost: http.example.com\r\n",
            "404",
        ),
        (
            "POST /oidc/unknown HTTP/1.1\r\nhost: http.example.com\r\ncontent-length: 0\r\n",
            "404",
        ),
    ] {
        let answer = exchange(cells.proxy, &format!("{request}cookie: {cookie}\r\n\r\n"));
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{request}\n{answer}");
    }
    for (kind, application) in &cells.applications {
        let received = application.received.lock().unwrap().len();
        assert_eq!(received, 0, "{kind:?}");
    }
    let answer = exchange(
        cells.proxy,
        "GET /x HTTP/1.1\r\nhost: http.example.com\r\n\r\n",
    );
    assert!(
        answer.contains("\r\nx-session-reason: no_credential\r\n"),
        "{answer}"
    );
    assert_eq!(cells.applications[0].0, TargetKind::Http);
}
