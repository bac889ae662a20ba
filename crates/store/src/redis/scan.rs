use std::time::Duration;

use redis::{RedisError, RedisResult};

use crate::clock::Stopwatch;
use crate::redis::connection::Address;
use crate::redis::connection::Connection;
use crate::redis::connection::info;
use crate::redis::keys::Keys;
use crate::session::SessionId;

/// The `COUNT` of `SCAN`: how many keys the server examines in one command.
const SCAN_COUNT: u32 = 500;
/// The cursor at the start and at the end of a `SCAN`.
const START_CURSOR: &str = "0";

/// A primary whose sessions a walk reads.
pub(in crate::redis) struct Server {
    address: Option<Address>,
    /// The ID of the server process. A `SCAN` cursor is valid only for this process.
    pub(in crate::redis) run_id: String,
}

/// Returns all primaries, in any order.
pub(in crate::redis) async fn read_servers(
    connection: &mut Connection,
) -> RedisResult<Vec<Server>> {
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let mut servers = Vec::new();
    for (address, answer) in connection.ask_every_primary(&command).await? {
        let text: String = redis::from_redis_value(answer)?;
        let run_id = info::field(&text, "run_id").unwrap_or_default().to_owned();
        servers.push(Server { address, run_id });
    }
    Ok(servers)
}

/// A walk over all sessions of one server with `SCAN`. After each batch, the walk pauses for as long as the batch
/// took, so that checks do not become slow.
pub(in crate::redis) struct Walk<'a> {
    connection: Connection,
    keys: &'a Keys,
    server: &'a Server,
    cursor: Option<String>,
    batch_timer: Option<Stopwatch>,
}

/// The IDs of some sessions, and the cursor of the next batch.
pub(in crate::redis) struct ScanBatch {
    pub(in crate::redis) sessions: Vec<SessionId>,
    /// `None` for the last batch.
    pub(in crate::redis) cursor: Option<String>,
}

impl<'a> Walk<'a> {
    /// Starts a walk at the beginning, or at the `cursor` of a batch of the same server.
    pub(in crate::redis) fn new(
        connection: Connection,
        keys: &'a Keys,
        server: &'a Server,
        cursor: Option<String>,
    ) -> Self {
        Self {
            connection,
            keys,
            server,
            cursor: Some(cursor.unwrap_or_else(|| START_CURSOR.to_owned())),
            batch_timer: None,
        }
    }

    /// Returns the next batch of sessions, or `None` at the end. The walk may return a session twice.
    pub(in crate::redis) async fn next(&mut self) -> RedisResult<Option<ScanBatch>> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        if let Some(batch_timer) = self.batch_timer {
            tokio::time::sleep(Duration::from_secs_f64(batch_timer.seconds().min(1.0))).await;
        }
        self.batch_timer = Some(Stopwatch::start());
        let mut command = redis::cmd("SCAN");
        command
            .arg(&cursor)
            .arg("MATCH")
            .arg(self.keys.session_pattern());
        command.arg("COUNT").arg(SCAN_COUNT);
        let answer = self
            .connection
            .ask_server(self.server.address.as_ref(), &command)
            .await;
        let (next_cursor, keys): (String, Vec<Vec<u8>>) =
            redis::from_redis_value(answer?).map_err(RedisError::from)?;
        self.cursor = (next_cursor != START_CURSOR).then_some(next_cursor);
        let sessions = keys
            .iter()
            .filter_map(|key| self.keys.parse_session_key(key));
        Ok(Some(ScanBatch {
            sessions: sessions.collect(),
            cursor: self.cursor.clone(),
        }))
    }
}
