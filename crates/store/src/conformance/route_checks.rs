use crate::policy::CheckTimes;
use crate::session::Timestamp;
use crate::{RouteCheckStore, TimesByRoute};

/// Tests how replicas share the times of checks. No other test may use the store at the same time.
///
/// # Panics
/// If the store fails a test.
pub async fn run_route_checks(store: &dyn RouteCheckStore, now: Timestamp) {
    let minute = CheckTimes::minute(now);
    let certain = |minute| CheckTimes {
        certain: minute,
        possible: 0,
    };
    let share = async |known: TimesByRoute, minutes: u64| {
        let now = now.plus(std::time::Duration::from_secs(60 * minutes));
        store.share_route_checks(&known, now).await.unwrap()
    };
    let first = share(TimesByRoute::new(), 0).await;
    assert_eq!((first.since, first.times.len()), (now, 0));
    share(
        [(1, certain(minute)), (u64::MAX, certain(minute))].into(),
        1,
    )
    .await;
    let possible = CheckTimes {
        certain: 0,
        possible: minute + 9,
    };
    let shared = share([(1, possible), (2, CheckTimes::default())].into(), 10).await;
    assert_eq!(shared.since, now, "the observation began at the first call");
    let both = CheckTimes {
        certain: minute,
        possible: minute + 9,
    };
    assert_eq!(
        shared.times,
        [(1, both), (u64::MAX, certain(minute))].into()
    );
    // Another replica, which knows only older times.
    let again = share([(1, certain(minute - 60))].into(), 11).await;
    assert_eq!(again, shared);
    let later = share(TimesByRoute::new(), 91 * 24 * 60).await;
    assert!(later.times.is_empty(), "old times are forgotten");
}
