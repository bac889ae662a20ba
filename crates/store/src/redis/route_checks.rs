//! The times of checks for routes: a hash with a field for each route, and the field `since`. It holds no secrets: the
//! numbers stand for the names of routes. Two replicas can write a field at the same time, and the earlier time can win. It is
//! at most a few minutes older, and the other replica writes its time again later.

use std::collections::HashMap;

use async_trait::async_trait;

use super::RedisStore;
use crate::policy::CheckTimes;
use crate::session::Timestamp;
use crate::{RouteCheckStore, SharedRouteChecks, StoreError, TimesByRoute};

/// The field with the start of the observation, in milliseconds since 1970.
const SINCE: &str = "since";

/// How long Redis keeps the hash after the last write, in seconds: 100 days.
const EXPIRY: u64 = 100 * 24 * 60 * 60;

#[async_trait]
impl RouteCheckStore for RedisStore {
    async fn share_route_checks(
        &self,
        known: &TimesByRoute,
        now: Timestamp,
    ) -> Result<SharedRouteChecks, StoreError> {
        let key = self.keys.route_checks();
        let mut start = redis::cmd("HSETNX");
        start.arg(&key).arg(SINCE).arg(now.as_millis());
        let () = self.send_once(&start).await?;
        let mut read = redis::cmd("HGETALL");
        let fields: HashMap<String, String> = self.send_once(read.arg(&key)).await?;
        let since = fields.get(SINCE).and_then(|millis| millis.parse().ok());
        let mut shared = SharedRouteChecks {
            since: since.map_or(now, Timestamp::from_millis),
            times: fields.iter().filter_map(parse).collect(),
        };
        let (changed, removed) = shared.merge(known, now);
        if !changed.is_empty() {
            let mut write = redis::cmd("HSET");
            write.arg(&key);
            for (route, CheckTimes { certain, possible }) in changed {
                write
                    .arg(format!("{route:016x}"))
                    .arg(format!("{certain}:{possible}"));
            }
            let () = self.send_once(&write).await?;
            let mut expire = redis::cmd("EXPIRE");
            let () = self.send_once(expire.arg(&key).arg(EXPIRY)).await?;
        }
        if !removed.is_empty() {
            let mut remove = redis::cmd("HDEL");
            remove.arg(&key);
            for route in removed {
                remove.arg(format!("{route:016x}"));
            }
            let () = self.send_once(&remove).await?;
        }
        Ok(shared)
    }
}

/// Parses a field. A field that this version does not understand is left alone.
fn parse((route, times): (&String, &String)) -> Option<(u64, CheckTimes)> {
    let route = u64::from_str_radix(route, 16).ok()?;
    let (certain, possible) = times.split_once(':')?;
    let times = CheckTimes {
        certain: certain.parse().ok()?,
        possible: possible.parse().ok()?,
    };
    Some((route, times))
}
