use super::*;

#[tokio::test]
async fn a_stream_survives_an_outage_shorter_than_its_grace() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(SECOND).await;
    fixture.set_outage(true);
    fixture.supervisor.streams.recheck_all();
    fixture.run_until(10 * SECOND).await;
    fixture.set_outage(false);
    fixture.run_until(10 * MINUTE).await;
    assert_eq!(fixture.cut_reason(), None);
}

#[tokio::test]
async fn an_outage_cuts_the_stream_after_its_grace() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(SECOND).await;
    fixture.set_outage(true);
    fixture.supervisor.streams.recheck_all();
    fixture.run_until(GRACE).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(GRACE + 2 * SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::StoreUnavailable));
    fixture.set_outage(false);
    assert!(fixture.is_live().await, "an outage must not end a session");
}

#[tokio::test]
async fn no_stream_outlives_its_last_known_deadline_in_an_outage() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(15 * MINUTE - 10 * SECOND).await;
    fixture.set_outage(true);
    fixture.run_until(15 * MINUTE - SECOND).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(15 * MINUTE + SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::StoreUnavailable));
}
