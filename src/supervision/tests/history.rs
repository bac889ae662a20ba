use proptest::prelude::*;

use super::*;
use crate::store::InvalidationListener;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u32),
    TouchElsewhere,
    ClientData,
    EndElsewhere { announced: bool },
    Outage(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u32..400).prop_map(Step::Wait),
        3 => Just(Step::TouchElsewhere),
        3 => Just(Step::ClientData),
        1 => any::<bool>().prop_map(|announced| Step::EndElsewhere { announced }),
        2 => any::<bool>().prop_map(Step::Outage),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In a random history, a stream is cut if and only if a model of the session says so.
    #[test]
    fn a_stream_ends_with_its_session(steps in proptest::collection::vec(any_step(), 1..25), interactive in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run_history(steps, interactive))?;
    }
}

async fn run_history(steps: Vec<Step>, interactive: bool) -> Result<(), TestCaseError> {
    let policy = if interactive {
        "interactive"
    } else {
        "default"
    };
    let mut fixture = Fixture::with_rules(Rules::default(), policy).await;
    fixture.run_until(SECOND).await;
    let mut outage_since = None;
    let mut is_ended = false;
    // Since when the supervisor has known of the end, or could have read it.
    let mut end_known_since = None;
    let mut longest_outage = Duration::ZERO;
    for step in steps {
        let now = fixture.bench.clock.now();
        match step {
            Step::Wait(seconds) => {
                let until = now.plus(seconds * SECOND);
                fixture.run_until(until.since(START)).await;
            }
            Step::TouchElsewhere => fixture.touch_elsewhere().await,
            Step::ClientData => fixture.guard.record_client_data(),
            Step::EndElsewhere { announced } => {
                fixture.end_elsewhere(EndReason::SignedOut).await;
                is_ended = true;
                if announced {
                    fixture.supervisor.streams.invalidate(fixture.id, now);
                    end_known_since = Some(now);
                }
            }
            Step::Outage(true) => {
                outage_since.get_or_insert(now);
                fixture.set_outage(true);
            }
            Step::Outage(false) => {
                outage_since = None;
                fixture.set_outage(false);
                end_known_since = end_known_since.map(|_| now);
            }
        }
        fixture.run_round().await;
        let now = fixture.bench.clock.now();
        let outage = outage_since.map_or(Duration::ZERO, |since| now.since(since));
        longest_outage = longest_outage.max(outage);
        let record = fixture.bench.load_record(fixture.id).await;
        let is_live = record.state == State::Live
            && now < fixture.supervisor.rulebook.policies.deadline(&record);
        match fixture.cut_reason() {
            None => {
                let deadline = fixture.guard.stream().terms().deadline;
                prop_assert!(
                    now < deadline.plus(SECOND),
                    "no stream may outlive its last known deadline"
                );
                prop_assert!(
                    outage_since.is_some() || is_ended || is_live,
                    "a stream of an expired session must be cut"
                );
                let is_known = end_known_since.is_some_and(|since| now >= since.plus(SECOND));
                prop_assert!(
                    outage_since.is_some() || !is_known,
                    "a stream must be cut after an announced end"
                );
            }
            Some(DenyReason::StoreUnavailable) => {
                prop_assert!(
                    longest_outage > Duration::ZERO,
                    "the store has always answered"
                );
                return Ok(());
            }
            Some(reason) => {
                prop_assert!(!is_live, "the stream of a live session was cut: {reason}");
                return Ok(());
            }
        }
    }
    Ok(())
}
