use super::*;

#[tokio::test]
async fn data_of_the_client_counts_only_where_all_policies_and_the_rule_agree() {
    let by_rule = |activity| {
        rule(Terms {
            stream_activity: Some(activity),
            ..Terms::default()
        })
    };
    let by_policy = rule(Terms {
        policy: Some(policy_name("default")),
        ..Terms::default()
    });
    for (policy, rules, counts) in [
        ("interactive", Rules::default(), true),
        ("interactive", by_rule(StreamActivity::ClientData), true),
        ("interactive", by_rule(StreamActivity::Off), false),
        ("interactive", by_policy, false),
        ("default", Rules::default(), false),
        ("default", by_rule(StreamActivity::ClientData), false),
    ] {
        let mut fixture = Fixture::with_rules(rules, policy).await;
        for minutes in 1..30 {
            fixture.run_until(minutes * MINUTE).await;
            fixture.guard.record_client_data();
        }
        fixture.run_until(30 * MINUTE).await;
        let expected = (!counts).then_some(DenyReason::IdleTimeout);
        assert_eq!(fixture.cut_reason(), expected, "{policy}");
        let touches = fixture.bench.parts.metrics.streams.touches.get();
        assert_eq!(touches > 0, counts);
    }
}

#[tokio::test]
async fn data_of_the_client_is_written_once_per_touch_interval() {
    let mut fixture = Fixture::with_rules(Rules::default(), "interactive").await;
    for tenths in 0..600 {
        fixture.run_until(tenths * SECOND / 10).await;
        fixture.guard.record_client_data();
    }
    // The touch interval of a 15-minute limit is 15 seconds.
    let touches = fixture.bench.parts.metrics.streams.touches.get();
    assert!((3..=6).contains(&touches), "{touches}");
}

#[tokio::test]
async fn data_after_the_limit_does_not_prolong_the_session() {
    let mut fixture = Fixture::with_rules(Rules::default(), "interactive").await;
    fixture.run_until(MINUTE).await;
    fixture.bench.clock.set(START.plus(15 * MINUTE));
    fixture.guard.record_client_data();
    fixture.run_round().await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::IdleTimeout));
}
