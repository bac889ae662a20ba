use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates,
};

use super::keys::Keys;
use super::record;
use crate::secret::Secret;

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`, with host, port and database, and user and password where they
    /// are not given apart.
    pub url: Secret<String>,
    /// The ACL user, instead of the URL's.
    pub username: Option<String>,
    /// The password, instead of the URL's.
    pub password: Option<Secret<String>>,
    /// How the server is authenticated over `rediss://`.
    pub tls: Tls,
    /// What every key begins with.
    pub prefix: String,
    /// The most time to make a connection.
    pub connect_timeout: Duration,
    /// The most time for one operation, waiting for a connection included.
    pub command_timeout: Duration,
}

impl RedisSettings {
    /// Whether a connection could be attempted with these settings.
    ///
    /// # Errors
    /// [`ConnectError::Settings`] with what is wrong, without the URL.
    pub fn check(&self) -> Result<(), ConnectError> {
        let info = connection_info(self)?;
        if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
            return Err(ConnectError::Settings(
                "a rediss:// URL with #insecure would trust any server; name the authority in \
                 store.ca_file instead"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Whom to trust over `rediss://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
}

/// Why Redis can't be used. The text never holds the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// The server did not let us in, or did not answer.
    #[error("{0}")]
    Server(String),
    /// The records were written by a newer program.
    #[error(
        "the records in Redis follow schema {found}, and this program knows up to {known}: use a \
         newer curfew, or another store.prefix"
    )]
    NewerSchema {
        /// What the server holds.
        found: u64,
        /// What this program writes.
        known: u8,
    },
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        Self::Server(error.to_string())
    }
}

/// A connection that is made on first use and remade for ever, with short pauses.
pub(super) fn manager(settings: &RedisSettings) -> Result<ConnectionManager, ConnectError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.command_timeout))
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(500))
        // It never gives up: one that did would stay broken after an error that is not I/O, such
        // as a server that is still loading its data.
        .set_number_of_retries(usize::MAX);
    Ok(ConnectionManager::new_lazy_with_config(
        client(settings)?,
        config,
    )?)
}

/// Connects once, and looks at the schema: writes ours where there is none.
pub(super) async fn probe(settings: &RedisSettings, keys: &Keys) -> Result<(), ConnectError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.connect_timeout));
    let mut connection = client(settings)?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SET")
        .arg(keys.schema())
        .arg(record::VERSION)
        .arg("NX")
        .ignore();
    pipeline.cmd("GET").arg(keys.schema());
    let (found,): (u64,) = pipeline.query_async(&mut connection).await?;
    if found > u64::from(record::VERSION) {
        return Err(ConnectError::NewerSchema {
            found,
            known: record::VERSION,
        });
    }
    Ok(())
}

fn client(settings: &RedisSettings) -> Result<Client, ConnectError> {
    let info = connection_info(settings)?;
    let secure = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if secure {
        let tls = TlsCertificates {
            client_tls: None,
            root_cert: settings.tls.ca.clone(),
        };
        Ok(Client::build_with_tls(info, tls)?)
    } else {
        Ok(Client::open(info)?)
    }
}

fn connection_info(settings: &RedisSettings) -> Result<ConnectionInfo, ConnectError> {
    // The error of a URL that can't be parsed could repeat it.
    let info = settings
        .url
        .expose()
        .as_str()
        .into_connection_info()
        .map_err(|_| {
            ConnectError::Settings("not a Redis URL such as redis://host:6379/0".to_owned())
        })?;
    // The library's name would need one more right on the server, and is no news.
    let mut redis = info.redis_settings().clone().set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose());
    }
    Ok(info
        .set_redis_settings(redis)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}
