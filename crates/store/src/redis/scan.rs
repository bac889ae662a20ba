use std::time::Duration;

use redis::{RedisError, RedisResult};

use super::connection::Connection;
use super::info;
use super::keys::Keys;
use super::settings::Address;
use crate::clock::Stopwatch;
use crate::session::SessionId;

/// How many keys a server looks at in one step.
const SCAN_COUNT: u32 = 500;
/// The cursor with which a walk begins and ends.
const START_CURSOR: &str = "0";

/// A primary to walk over.
pub(super) struct Server {
    address: Option<Address>,
    /// What its process is called; a cursor means something to this one only.
    pub(super) run_id: String,
}

/// All primaries, in no order.
pub(super) async fn servers(connection: &mut Connection) -> RedisResult<Vec<Server>> {
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

/// A walk over all sessions on one server, which takes half of the time at most that it could, so
/// that checks don't suffer.
pub(super) struct Walk<'a> {
    connection: Connection,
    keys: &'a Keys,
    server: &'a Server,
    cursor: Option<String>,
    working: Option<Stopwatch>,
}

/// Some sessions, and where the walk goes on.
pub(super) struct Batch {
    pub(super) sessions: Vec<SessionId>,
    /// `None` when these were the last.
    pub(super) cursor: Option<String>,
}

impl<'a> Walk<'a> {
    /// A walk from the beginning, or from the `cursor` of a batch of this server.
    pub(super) fn new(
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
            working: None,
        }
    }

    /// The next sessions; `None` at the end. A session may come twice.
    pub(super) async fn next(&mut self) -> RedisResult<Option<Batch>> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        if let Some(working) = self.working {
            tokio::time::sleep(Duration::from_secs_f64(working.seconds().min(1.0))).await;
        }
        self.working = Some(Stopwatch::start());
        let mut command = redis::cmd("SCAN");
        command
            .arg(&cursor)
            .arg("MATCH")
            .arg(self.keys.all_sessions());
        command.arg("COUNT").arg(SCAN_COUNT);
        let answer = self
            .connection
            .ask(self.server.address.as_ref(), &command)
            .await;
        let (next, names): (String, Vec<Vec<u8>>) =
            redis::from_redis_value(answer?).map_err(RedisError::from)?;
        self.cursor = (next != START_CURSOR).then_some(next);
        let sessions = names.iter().filter_map(|name| self.keys.session_of(name));
        Ok(Some(Batch {
            sessions: sessions.collect(),
            cursor: self.cursor.clone(),
        }))
    }
}
