//! The check listener, on the wire.

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
    for number in 0..500 {
        request = request.header(format!("x-{number}"), "x");
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
}
