use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::cluster::{ClusterClientBuilder, TlsMode};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
};

use crate::redis::connection::Connection;
use crate::redis::connection::settings::{Address, RedisSettings, Tls};
use crate::secret::Secret;

/// How long the peer may leave sent bytes without an acknowledgement before the kernel closes the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why Curfew could not connect to Redis. The text never contains the URL, because the URL may contain a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings are invalid.
    #[error("{0}")]
    Settings(String),
    /// The server rejected the connection or did not answer.
    #[error("{0}")]
    Server(String),
    /// The server is a Redis replica and not a primary.
    #[error(
        "{0} is a Redis replica: set store.url to the address of its primary, or use redis+sentinel:// or \
         redis+cluster://"
    )]
    Replica(Address),
    /// A newer version of Curfew wrote the records.
    #[error(
        "the records in Redis follow schema {found}, and this program supports up to {known}: use a \
         newer curfew, or another store.prefix"
    )]
    NewerSchema {
        /// The schema version in Redis.
        found: u64,
        /// The newest schema version that this program supports.
        known: u8,
    },
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        Self::Server(error.to_string())
    }
}

/// The login and the database number of a connection.
pub(in crate::redis) struct Credentials {
    pub(in crate::redis) username: Option<String>,
    pub(in crate::redis) password: Option<Secret<String>>,
    pub(in crate::redis) database: i64,
}

impl Credentials {
    /// Reads the login from the settings. If the password is in a file, each call reads the file.
    pub(in crate::redis) fn read(settings: &RedisSettings) -> Result<Self, ConnectError> {
        Ok(Self {
            username: settings.username.clone(),
            password: settings.password.read()?,
            database: settings.database,
        })
    }
}

/// Returns whether the server reports the role of a primary.
pub(in crate::redis) async fn is_primary(
    connection: &mut MultiplexedConnection,
    answer_timeout: Duration,
) -> Result<bool, ConnectError> {
    let role = redis::cmd("ROLE");
    let reply = tokio::time::timeout(answer_timeout, role.query_async(connection)).await;
    let answer: Vec<redis::Value> =
        reply.map_err(|_| ConnectError::Server("no reply to ROLE in time".to_owned()))??;
    let role: Option<String> = answer
        .first()
        .and_then(|role| redis::from_redis_value_ref(role).ok());
    Ok(role.as_deref() == Some("master"))
}

/// Connects to a single server.
pub(in crate::redis) async fn connect_single(
    settings: &RedisSettings,
    address: &Address,
    credentials: &Credentials,
) -> Result<MultiplexedConnection, ConnectError> {
    let info = connection_info(address, settings.tls.is_some(), credentials)?;
    let client = match &settings.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls))?,
        None => Client::open(info)?,
    };
    // The Redis client needs no response timeout, because each operation has its own timeout.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    // The connection timeout of the library does not cover the handshake commands, so this timeout covers both.
    match tokio::time::timeout(settings.connect_timeout, connecting).await {
        Ok(connection) => Ok(connection?),
        Err(_) => {
            let message = format!(
                "no reply from {address} within {:?}",
                settings.connect_timeout
            );
            Err(ConnectError::Server(message))
        }
    }
}

/// Subscribes to a channel on a separate connection.
pub(in crate::redis) async fn subscribe(
    settings: &RedisSettings,
    address: &Address,
    credentials: &Credentials,
    channel: &[u8],
) -> Result<PubSubStream, RedisError> {
    let info = connection_info(address, settings.tls.is_some(), credentials);
    let info = info.map_err(|error| {
        (
            ErrorKind::InvalidClientConfig,
            "settings",
            error.to_string(),
        )
    })?;
    let client = match &settings.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls))?,
        None => Client::open(info)?,
    };
    let subscribing = async {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(subscription.into_on_message())
    };
    match tokio::time::timeout(settings.connect_timeout, subscribing).await {
        Ok(messages) => messages,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

pub(in crate::redis) async fn connect_cluster(
    settings: &RedisSettings,
    nodes: &[Address],
    credentials: &Credentials,
    answer_timeout: Duration,
) -> Result<Connection, ConnectError> {
    let nodes = nodes
        .iter()
        .map(|node| connection_info(node, settings.tls.is_some(), credentials))
        .collect::<Result<Vec<_>, _>>()?;
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(answer_timeout)
        // The Redis client needs no overall timeout, because the timeout of the caller applies.
        .overall_response_timeout(None)
        .tcp_settings(tcp_settings())
        // The Redis client retries only a few times with short delays, because a check waits for the result.
        .retries(3)
        .min_retry_wait(5)
        .max_retry_wait(50);
    if let Some(tls) = &settings.tls {
        builder = builder.tls(TlsMode::Secure).certs(certificates(tls));
    }
    let client = builder.build()?;
    let connecting = client.get_async_connection();
    match tokio::time::timeout(2 * settings.connect_timeout, connecting).await {
        Ok(connection) => Ok(Connection::Cluster(connection?)),
        Err(_) => Err(ConnectError::Server(
            "no reply from the Redis Cluster in time".to_owned(),
        )),
    }
}

fn certificates(tls: &Tls) -> TlsCertificates {
    let client_tls = tls
        .client
        .as_ref()
        .map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.expose().clone(),
        });
    TlsCertificates {
        client_tls,
        root_cert: tls.ca.clone(),
    }
}

fn connection_info(
    address: &Address,
    tls: bool,
    credentials: &Credentials,
) -> Result<ConnectionInfo, ConnectError> {
    let (host, port) = (address.host.clone(), address.port);
    let address = if tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    // Curfew does not send `CLIENT SETINFO`: the command needs one more ACL right, and nobody needs the library name.
    let mut redis = RedisConnectionInfo::default()
        .set_skip_set_lib_name()
        .set_db(credentials.database);
    if let Some(username) = &credentials.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &credentials.password {
        redis = redis.set_password(password.expose());
    }
    Ok(address
        .into_connection_info()?
        .set_redis_settings(redis)
        .set_tcp_settings(tcp_settings()))
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(TCP_USER_TIMEOUT);
    settings
}
