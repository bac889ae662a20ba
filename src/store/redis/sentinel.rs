use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;

use super::open::{self, ConnectError, Credentials};
use super::settings::{Address, RedisSettings};

/// The most time that one sentinel gets to answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// The sentinels of a primary, and the connections to them.
pub(super) struct Sentinels {
    name: String,
    places: Vec<(Address, Option<MultiplexedConnection>)>,
}

/// Where the primary is, as one sentinel sees it.
#[derive(Debug)]
struct Opinion {
    primary: Address,
    /// Grows with every fail-over: the sentinel with the greatest has heard the latest news.
    epoch: u64,
}

impl Sentinels {
    pub(super) fn new(addresses: &[Address], name: &str) -> Self {
        Self {
            name: name.to_owned(),
            places: addresses
                .iter()
                .cloned()
                .map(|address| (address, None))
                .collect(),
        }
    }

    /// Where the primary is. All sentinels are asked, and the one with the latest news is
    /// believed: one that was cut off from the others still names the old primary.
    ///
    /// # Errors
    /// [`ConnectError`] when none of them says where the primary is.
    pub(super) async fn primary(
        &mut self,
        settings: &RedisSettings,
    ) -> Result<Address, ConnectError> {
        let name = &self.name;
        let asked = self.places.iter_mut().map(async |(address, connection)| {
            let asked = ask(address, connection, name, settings);
            let answer = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(ConnectError::Server("no answer".to_owned())),
            };
            if answer.is_err() {
                *connection = None;
            }
            answer.map_err(|error| format!("{address}: {error}"))
        });
        let (mut opinions, mut errors) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(opinion) => opinions.push(opinion),
                Err(error) => errors.push(error),
            }
        }
        let latest = opinions.into_iter().max_by_key(|opinion| opinion.epoch);
        latest.map(|opinion| opinion.primary).ok_or_else(|| {
            let errors = errors.join("; ");
            ConnectError::Server(format!("no sentinel knows the primary {name:?}: {errors}"))
        })
    }
}

/// Asks one sentinel, over the connection that there is or a new one.
async fn ask(
    address: &Address,
    connection: &mut Option<MultiplexedConnection>,
    name: &str,
    settings: &RedisSettings,
) -> Result<Opinion, ConnectError> {
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let credentials = Credentials {
                username: settings.sentinel_username.clone(),
                password: settings.sentinel_password.read()?,
                database: 0,
            };
            connection.insert(open::single(settings, address, &credentials).await?)
        }
    };
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTER").arg(name);
    let facts: HashMap<String, String> = command.query_async(connection).await?;
    let fact = |name: &str| facts.get(name).map(String::as_str);
    let opinion = || {
        Some(Opinion {
            primary: Address {
                host: fact("ip")?.to_owned(),
                port: fact("port")?.parse().ok()?,
            },
            epoch: fact("config-epoch")?.parse().ok()?,
        })
    };
    opinion()
        .ok_or_else(|| ConnectError::Server("a sentinel's answer is not understood".to_owned()))
}
