//! Requests are denied while Redis or Curfew is down or hangs.

use super::*;

#[tokio::test]
async fn without_redis_requests_are_denied_and_sessions_survive() {
    let mut stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let key_ring = KeyRing::new(vec![SigningKey::parse(&stack.setup.key).unwrap()]).unwrap();
    let unknown_cookie = format!("__Host-session={}", key_ring.issue().unwrap().expose());
    stack.assert_allowed(&session).await;
    stack.redis.stop();
    let unavailable = (503, "store_unavailable".to_owned());
    eventually("checks report the store failure", async || {
        stack.curfew.check(&session).await == unavailable
    })
    .await;
    stack.backend.take();
    for cookie in [&session.cookie(), &unknown_cookie] {
        let response = stack.send("GET", "/", &[("cookie", cookie)]).await;
        assert_eq!(
            response.status(),
            500,
            "NGINX answers 500 if the check fails"
        );
        assert_eq!(reason_of(&response), "store_unavailable");
        assert!(
            !response.headers().contains_key("set-cookie"),
            "the answer should not change the cookie"
        );
    }
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.curfew.check(&session).await, unavailable);
    assert_eq!(stack.curfew.get_ops("/readyz").await.0, 503);
    assert_eq!(stack.curfew.get_ops("/livez").await.0, 200);

    stack.redis.start_again();
    eventually("Curfew is ready again", async || {
        stack.curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    stack.assert_allowed(&session).await;
}

#[tokio::test]
async fn a_hanging_redis_does_not_delay_the_answer() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.redis.freeze();
    let stopwatch = curfew::clock::Stopwatch::start();
    let response = stack.get(&session).await;
    assert_eq!(
        (response.status().as_u16(), reason_of(&response)),
        (500, "store_unavailable")
    );
    // Curfew answers after its store timeout of 1 s, and NGINX waits for up to 2 s.
    assert!(stopwatch.seconds() < 1.9, "{} s", stopwatch.seconds());
    stack.redis.thaw();
    eventually("Curfew is ready again", async || {
        stack.curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    stack.backend.take();
    stack.assert_allowed(&session).await;
}

#[tokio::test]
async fn without_curfew_every_request_is_denied() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.assert_allowed(&session).await;
    stack.curfew.stop().await;
    let request = stack.client.get(stack.nginx.url("/"));
    let response = request
        .header("cookie", session.cookie())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    assert!(stack.backend.take().is_empty());
}
