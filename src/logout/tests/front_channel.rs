use super::*;

#[tokio::test]
async fn front_channel_logouts_end_sessions_within_limits() {
    let service = Fixture::new();
    service.bench.set_time_after_start(SECOND);
    let iss: String = url::form_urlencoded::byte_serialize(ISSUER.as_bytes()).collect();
    for (query, status) in [
        (String::new(), StatusCode::BAD_REQUEST),
        (format!("?iss={iss}"), StatusCode::BAD_REQUEST),
        ("?sid=s-1".to_owned(), StatusCode::BAD_REQUEST),
        (format!("?iss={iss}&sid="), StatusCode::BAD_REQUEST),
        (
            format!("?iss={iss}&sid=s-1&sid=s-2"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "?iss=https://evil.example&sid=s-1".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (format!("?iss={iss}&sid=s-2"), StatusCode::OK),
    ] {
        assert_eq!(service.front_channel(&query).await, status, "{query}");
    }
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, Verdict::Allow);
    let verdict = service.use_session("alice", "s-2", Duration::ZERO).await;
    assert_eq!(verdict, REVOKED);
    // Anybody can send these requests, so they are limited.
    let mut accepted = 1;
    while service
        .front_channel(&format!("?iss={iss}&sid=x{accepted}"))
        .await
        == StatusCode::OK
    {
        accepted += 1;
    }
    assert_eq!(accepted, 600);
    service.bench.set_time_after_start(SECOND + MINUTE);
    let again = service.front_channel(&format!("?iss={iss}&sid=y")).await;
    assert_eq!(again, StatusCode::OK);
    let disabled = Fixture::with_endpoints(|logouts| logouts.front_channel = false);
    let answer = disabled.front_channel(&format!("?iss={iss}&sid=s")).await;
    assert_eq!(answer, StatusCode::NOT_FOUND);
}

/// Front-channel requests must leave space in the store for cut-offs of identity providers and administrators.
#[tokio::test]
async fn a_flood_of_the_front_channel_is_bounded() {
    let service = Fixture::new();
    service.bench.set_time_after_start(SECOND);
    let iss: String = url::form_urlencoded::byte_serialize(ISSUER.as_bytes()).collect();
    let send_from = async |address: &str, sid: usize| {
        let uri = format!("/oidc/frontchannel-logout?iss={iss}&sid=flood-{sid}");
        let request = Request::get(uri).header("x-forwarded-for", address);
        let request = request.body(Body::empty()).unwrap();
        let response = service.router.clone().oneshot(request).await.unwrap();
        let has_retry_after = response.headers().contains_key("retry-after");
        assert_eq!(has_retry_after, response.status() != StatusCode::OK);
        response.status()
    };
    for sid in 0..60 {
        assert_eq!(send_from("203.0.113.7", sid).await, StatusCode::OK);
    }
    for sid in 60..100 {
        let status = send_from("203.0.113.7", sid).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(send_from("203.0.113.8", 100).await, StatusCode::OK);
    let cut_offs = &service.bench.parts.stores.cut_offs;
    assert_eq!(cut_offs.usage().entries, 61);
    let refused = service
        .bench
        .parts
        .metrics
        .sources
        .front_channel_refused
        .get();
    assert_eq!(refused, 40);
    let max_entries = cut_offs.usage().max;
    for number in 0..max_entries / 2 {
        let subject = crate::session::Subject::new(format!("subject {number}")).unwrap();
        let at = START.plus(SECOND);
        cut_offs.set_cut_off(&subject, at, START).await.unwrap();
    }
    let status = send_from("203.0.113.9", 101).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let token = service.logout_token("l-1", SECOND, &json!({ "sid": "s-1" }));
    assert_eq!(service.back_channel(&token).await, StatusCode::OK);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, REVOKED);
}
