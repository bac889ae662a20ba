use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;

use crate::redis::connection::open::{self, ConnectError, Credentials};
use crate::redis::connection::settings::{Address, RedisSettings};

/// Timeout for the reply of one sentinel.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// The sentinels of a primary, and the connections to them.
pub(in crate::redis) struct Sentinels {
    name: String,
    sentinels: Vec<(Address, Option<MultiplexedConnection>)>,
}

/// The address of the primary according to one sentinel.
#[derive(Debug)]
struct PrimaryReport {
    primary: Address,
    /// The configuration epoch of the sentinel. It grows with every fail-over, and Curfew uses the reply with the
    /// highest epoch.
    epoch: u64,
}

impl Sentinels {
    pub(in crate::redis) fn new(addresses: &[Address], name: &str) -> Self {
        Self {
            name: name.to_owned(),
            sentinels: addresses
                .iter()
                .cloned()
                .map(|address| (address, None))
                .collect(),
        }
    }

    /// Asks all sentinels for the address of the primary. Returns the reply with the highest epoch, because a sentinel
    /// that is cut off from the others still reports the former primary, with a lower epoch.
    ///
    /// # Errors
    /// [`ConnectError`] when no majority of the sentinels reports a primary.
    pub(in crate::redis) async fn find_primary(
        &mut self,
        settings: &RedisSettings,
    ) -> Result<Address, ConnectError> {
        let name = &self.name;
        let answers = self
            .sentinels
            .iter_mut()
            .map(async |(address, connection)| {
                let request = ask_sentinel(address, connection, name, settings);
                let answer = match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
                    Ok(answer) => answer,
                    Err(_) => Err(ConnectError::Server("no reply in time".to_owned())),
                };
                if answer.is_err() {
                    *connection = None;
                }
                answer.map_err(|error| format!("{address}: {error}"))
            });
        let (mut reports, mut errors) = (Vec::new(), Vec::new());
        for answer in join_all(answers).await {
            match answer {
                Ok(report) => reports.push(report),
                Err(error) => errors.push(error),
            }
        }
        // A majority is necessary, because a minority of the sentinels may be cut off together with a former primary.
        let majority = self.sentinels.len() / 2 + 1;
        if reports.len() < majority {
            let errors = errors.join("; ");
            return Err(ConnectError::Server(format!(
                "fewer than {majority} sentinels reported the address of the primary {name:?}: {errors}"
            )));
        }
        let latest_report = reports.into_iter().max_by_key(|report| report.epoch);
        latest_report
            .map(|report| report.primary)
            .ok_or_else(|| ConnectError::Settings("no sentinels configured".to_owned()))
    }
}

/// Asks one sentinel, on an existing or a new connection.
async fn ask_sentinel(
    sentinel: &Address,
    connection: &mut Option<MultiplexedConnection>,
    name: &str,
    settings: &RedisSettings,
) -> Result<PrimaryReport, ConnectError> {
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let credentials = Credentials {
                username: settings.sentinel_username.clone(),
                password: settings.sentinel_password.read()?,
                database: 0,
            };
            connection.insert(open::connect_single(settings, sentinel, &credentials).await?)
        }
    };
    // Curfew needs both commands: only `SENTINEL MASTER` returns the epoch, but during a fail-over it still describes
    // the former primary.
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name);
    pipeline.cmd("SENTINEL").arg("MASTER").arg(name);
    let (address, fields): (Option<(String, u16)>, HashMap<String, String>) =
        pipeline.query_async(connection).await?;
    let epoch = fields
        .get("config-epoch")
        .and_then(|epoch| epoch.parse().ok());
    let report = || {
        let (host, port) = address?;
        Some(PrimaryReport {
            primary: Address { host, port },
            epoch: epoch?,
        })
    };
    report().ok_or_else(|| ConnectError::Server("invalid reply".to_owned()))
}
