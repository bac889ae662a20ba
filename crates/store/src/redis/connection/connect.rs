use std::time::Duration;

use crate::redis::connection::Connection;
use crate::redis::connection::open::{self, ConnectError, Credentials, is_primary};
use crate::redis::connection::sentinel::Sentinels;
use crate::redis::connection::settings::{Address, RedisSettings, Topology};

/// Opens connections to Redis.
pub(in crate::redis) struct Connector {
    settings: RedisSettings,
    sentinels: Option<Sentinels>,
}

/// A new connection and its server. The field `server` is `None` for a cluster.
pub(in crate::redis) struct NewConnection {
    pub(in crate::redis) connection: Connection,
    pub(in crate::redis) server: Option<Address>,
}

impl Connector {
    pub(in crate::redis) fn new(settings: RedisSettings) -> Self {
        let sentinels = match &settings.topology {
            Topology::Sentinel { sentinels, name } => Some(Sentinels::new(sentinels, name)),
            Topology::Standalone(_) | Topology::Cluster(_) => None,
        };
        Self {
            settings,
            sentinels,
        }
    }

    /// Connects to the primary, or to all nodes of a cluster. In a cluster, `answer_timeout` limits each command, so
    /// that the Redis client drops a node that does not answer.
    ///
    /// # Errors
    /// [`ConnectError`] with the error text of the server.
    pub(in crate::redis) async fn connect(
        &mut self,
        answer_timeout: Duration,
    ) -> Result<NewConnection, ConnectError> {
        let settings = &self.settings;
        let credentials = Credentials::read(settings)?;
        let server = match &settings.topology {
            Topology::Cluster(nodes) => {
                let connection =
                    open::connect_cluster(settings, nodes, &credentials, answer_timeout).await?;
                return Ok(NewConnection {
                    connection,
                    server: None,
                });
            }
            Topology::Standalone(address) => address.clone(),
            Topology::Sentinel { .. } => self.find_primary().await?,
        };
        let settings = &self.settings;
        let mut connection = open::connect_single(settings, &server, &credentials).await?;
        if !is_primary(&mut connection, settings.connect_timeout).await? {
            return Err(ConnectError::Replica(server));
        }
        // A fail-over may have promoted another server in the meantime. A former primary that was frozen does not
        // notice the fail-over and still reports the role of a primary, so Curfew asks the sentinels again.
        if self.sentinels.is_some() && self.find_primary().await? != server {
            let message = format!("{server} is no longer the primary");
            return Err(ConnectError::Server(message));
        }
        Ok(NewConnection {
            connection: Connection::Single(connection),
            server: Some(server),
        })
    }

    /// Returns whether `server` is still the primary according to the sentinels.
    pub(in crate::redis) async fn is_still_primary(&mut self, server: &Address) -> bool {
        match self.sentinels {
            // If no sentinel answers, Curfew keeps a primary that answers, because an outage of the sentinels must not
            // make Redis unusable.
            Some(_) => self
                .find_primary()
                .await
                .map_or(true, |primary| primary == *server),
            None => true,
        }
    }

    async fn find_primary(&mut self) -> Result<Address, ConnectError> {
        match &mut self.sentinels {
            Some(sentinels) => sentinels.find_primary(&self.settings).await,
            None => Err(ConnectError::Settings("no sentinels configured".to_owned())),
        }
    }
}
