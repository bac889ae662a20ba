use std::time::Duration;

use super::connection::Connection;
use super::open::{self, ConnectError, Credentials, is_primary};
use super::sentinel::Sentinels;
use super::settings::{Address, RedisSettings, Topology};

/// Makes connections to a Redis.
pub(super) struct Connector {
    settings: RedisSettings,
    sentinels: Option<Sentinels>,
}

/// A connection, and the server at its other end where that is one.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) server: Option<Address>,
}

impl Connector {
    pub(super) fn new(settings: RedisSettings) -> Self {
        let sentinels = match &settings.topology {
            Topology::Sentinel { sentinels, name } => Some(Sentinels::new(sentinels, name)),
            Topology::Standalone(_) | Topology::Cluster(_) => None,
        };
        Self {
            settings,
            sentinels,
        }
    }

    /// Connects to the primary, or to all of a cluster; `answer_timeout` is how long the answer to a
    /// command may take (in a cluster, where a server that does not answer must be given up).
    ///
    /// # Errors
    /// [`ConnectError`] with the server's own words.
    pub(super) async fn connect(
        &mut self,
        answer_timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        let settings = &self.settings;
        let credentials = Credentials::read(settings)?;
        let server = match &settings.topology {
            Topology::Cluster(nodes) => {
                let connection =
                    open::cluster(settings, nodes, &credentials, answer_timeout).await?;
                return Ok(Connected {
                    connection,
                    server: None,
                });
            }
            Topology::Standalone(address) => address.clone(),
            Topology::Sentinel { .. } => self.primary().await?,
        };
        let settings = &self.settings;
        let mut connection = open::single(settings, &server, &credentials).await?;
        if !is_primary(&mut connection, settings.connect_timeout).await? {
            return Err(ConnectError::Replica(server));
        }
        // While we connected, a fail-over may have made another server the primary: one that was
        // hanging meanwhile still takes itself for it.
        if self.sentinels.is_some() && self.primary().await? != server {
            let message = format!("{server} was the primary until a moment ago");
            return Err(ConnectError::Server(message));
        }
        Ok(Connected {
            connection: Connection::Single(connection),
            server: Some(server),
        })
    }

    /// Whether `server` is still the one to talk to, as far as anybody says.
    pub(super) async fn is_current(&mut self, server: &Address) -> bool {
        match self.sentinels {
            // Sentinels that don't answer change nothing about a primary that does: Redis must not
            // need them to go on.
            Some(_) => self
                .primary()
                .await
                .map_or(true, |primary| primary == *server),
            None => true,
        }
    }

    async fn primary(&mut self) -> Result<Address, ConnectError> {
        match &mut self.sentinels {
            Some(sentinels) => sentinels.primary(&self.settings).await,
            None => Err(ConnectError::Settings("there are no sentinels".to_owned())),
        }
    }
}
