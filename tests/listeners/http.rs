//! Tests the check listener with a raw HTTP client.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::curfew::{Setup, client};

#[tokio::test]
async fn many_headers_are_read() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let mut request = client()
        .get(format!("http://{}/auth-request", curfew.check))
        .header("x-original-url", "https://app.example.com/")
        .header("x-original-method", "GET")
        .header("cookie", session.cookie());
    for number in 0..90 {
        request = request.header(format!("x-{number}"), "x");
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// Curfew refuses a request with too many headers, instead of ignoring some of them.
#[tokio::test]
async fn too_many_headers_are_refused() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let mut stream = TcpStream::connect(curfew.check).await.unwrap();
    let more_headers: String = (0..200)
        .map(|number| format!("x-{number}: x\r\n"))
        .collect();
    let request =
        check_request(&session.cookie()).replace("\r\n\r\n", &format!("\r\n{more_headers}\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// Returns a check with this cookie as HTTP/1.1 text.
fn check_request(cookie: &str) -> String {
    format!(
        "GET /auth-request HTTP/1.1\r\nhost: curfew\r\nx-original-url: https://app.example.com/\r\n\
         x-original-method: GET\r\ncookie: {cookie}\r\n\r\n"
    )
}

/// Reads `count` answers without a body, and returns their status lines.
async fn read_statuses(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let mut text = String::new();
    while text.matches("\r\n\r\n").count() < count {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "the connection closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    let lines = text.lines().filter(|line| line.starts_with("HTTP/1.1 "));
    lines
        .map(|line| line["HTTP/1.1 ".len()..][..3].to_owned())
        .collect()
}

#[tokio::test]
async fn pipelined_requests_are_answered() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let mut stream = TcpStream::connect(curfew.check).await.unwrap();
    let (valid_check, denied_check) = (check_request(&session.cookie()), check_request("a=b"));
    let all_requests = [&*valid_check, &denied_check, &valid_check, &valid_check].concat();
    stream.write_all(all_requests.as_bytes()).await.unwrap();
    assert_eq!(
        read_statuses(&mut stream, 4).await,
        ["200", "401", "200", "200"]
    );
}

#[tokio::test]
async fn http_2_works_without_tls() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build();
    let client = client.unwrap();
    let checks = (0..50).map(async |number| {
        let request = client
            .get(format!("http://{}/auth-request", curfew.check))
            .header("x-original-url", "https://app.example.com/")
            .header("x-original-method", "GET")
            .header(
                "cookie",
                if number % 2 == 0 {
                    session.cookie()
                } else {
                    "a=b".to_owned()
                },
            );
        let response = request.send().await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.status(), if number % 2 == 0 { 200 } else { 401 });
    });
    join_all(checks).await;
}

/// The method `PROPFIND` and the HTTP/2 preface `PRI` both begin with `PR`. So Curfew must wait for the third byte to
/// distinguish them.
#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let request = check_request(&session.cookie()).replacen("GET", "PROPFIND", 1);
    let mut stream = TcpStream::connect(curfew.check).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for (position, byte) in request.bytes().enumerate() {
        stream.write_all(&[byte]).await.unwrap();
        if position < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(read_statuses(&mut stream, 1).await, ["200"]);
}
