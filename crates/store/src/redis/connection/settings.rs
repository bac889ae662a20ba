use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::MAX_CUT_OFFS;
use crate::redis::{ConnectError, ScriptTexts};
use crate::secret::Secret;

/// The settings of the connection to Redis and of the store.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The servers and their roles.
    pub topology: Topology,
    /// The database number; always 0 in a cluster.
    pub database: i64,
    /// The ACL user, if any.
    pub username: Option<String>,
    /// The password of the ACL user.
    pub password: Password,
    /// The ACL user of the sentinels.
    pub sentinel_username: Option<String>,
    /// The password of the sentinels.
    pub sentinel_password: Password,
    /// TLS for every server. `None` means plain text.
    pub tls: Option<Tls>,
    /// The prefix of all keys.
    pub prefix: String,
    /// Timeout for one connection attempt.
    pub connect_timeout: Duration,
    /// Timeout for one operation, including the wait for a connection.
    pub command_timeout: Duration,
    /// How many Redis replicas must confirm a revocation.
    pub wait_replicas: u16,
    /// How long Curfew waits for these Redis replicas.
    pub wait_timeout: Duration,
    /// The approximate maximum length of the Redis stream of session ends (`events.stream`). `None` means no Redis
    /// stream.
    pub stream_length: Option<u64>,
    /// Whether Curfew upgrades records of older versions automatically.
    pub migrate: bool,
    /// Whether Curfew rejects plain (not encrypted) records from its start. Otherwise, it accepts them until it has
    /// upgraded all records.
    pub sealed_only: bool,
    /// Maximum number of subjects with a separate cut-off. A cut-off is a time: all sessions of the subject that
    /// started before this time have ended.
    pub max_cut_offs: usize,
    /// The Lua scripts.
    pub scripts: ScriptTexts,
}

impl RedisSettings {
    /// Creates the settings for a URL, with defaults for everything else.
    #[must_use]
    pub fn new(target: RedisTarget, scripts: ScriptTexts) -> Self {
        Self {
            topology: target.topology,
            database: target.database,
            username: target.username,
            password: target.password.map_or(Password::None, Password::Inline),
            sentinel_username: None,
            sentinel_password: Password::None,
            tls: target.tls.then(Tls::default),
            prefix: "curfew:".to_owned(),
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(100),
            wait_replicas: 0,
            wait_timeout: Duration::from_millis(100),
            stream_length: None,
            migrate: true,
            sealed_only: false,
            max_cut_offs: MAX_CUT_OFFS,
            scripts,
        }
    }
}

/// The servers and their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// A single server.
    Standalone(Address),
    /// A primary and its Redis replicas, which sentinels monitor.
    Sentinel {
        /// The addresses of the sentinels.
        sentinels: Vec<Address>,
        /// The name of the primary in the configuration of the sentinels.
        name: String,
    },
    /// A cluster, with the addresses of some of its nodes. Curfew asks these nodes for the others.
    Cluster(Vec<Address>),
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A Redis password: the text itself, or the file that contains it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// No password.
    #[default]
    None,
    /// A password in the configuration.
    Inline(Secret<String>),
    /// A file with the password. Curfew reads the file again when it changes.
    File(PathBuf),
}

impl Password {
    /// Reads the current password, without the line break at the end of a file.
    ///
    /// # Errors
    /// [`ConnectError::Settings`] when the file can't be read.
    pub fn read(&self) -> Result<Option<Secret<String>>, ConnectError> {
        match self {
            Self::None => Ok(None),
            Self::Inline(password) => Ok(Some(password.clone())),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let password = text.trim_end_matches(['\r', '\n']);
                    Ok(Some(Secret::new(password.to_owned())))
                }
                Err(error) => {
                    let path = path.display();
                    let message = format!("could not read the password file {path}: {error}");
                    Err(ConnectError::Settings(message))
                }
            },
        }
    }
}

/// The certificates for TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The CA certificates to trust instead of those of the system.
    pub ca: Option<Vec<u8>>,
    /// The client certificate and its key.
    pub client: Option<(Vec<u8>, Secret<Vec<u8>>)>,
}

/// A parsed `store.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisTarget {
    /// The servers and their roles.
    pub topology: Topology,
    /// Whether connections use TLS.
    pub tls: bool,
    /// The database number.
    pub database: i64,
    /// The ACL user, if any.
    pub username: Option<String>,
    /// The password, if any.
    pub password: Option<Secret<String>>,
}

impl RedisTarget {
    /// Parses a URL:
    ///
    /// * `redis://[user:password@]host[:6379][/database]`
    /// * `redis+sentinel://[user:password@]host[:26379],…/name[/database]`
    /// * `redis+cluster://[user:password@]host[:6379],…`
    ///
    /// The schemes with `rediss` use TLS. `valkey` and `valkeys` are aliases of `redis` and `rediss`.
    ///
    /// # Errors
    /// Returns the reason as text, without the URL, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const URL_FORMS: &str = "must be `memory:`, `redis://host:6379/0`, \
             `redis+sentinel://host:26379,host:26379/name`, `redis+cluster://host:6379,host:6379`, \
             or one of these with `rediss` for TLS";
        let (scheme, rest) = url.split_once("://").ok_or(URL_FORMS)?;
        let (family, topology_name) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match family {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(URL_FORMS),
        };
        if rest.contains(['?', '#']) {
            return Err(
                "must contain no `?` and no `#`: set up TLS with store.ca_file, store.cert_file and store.key_file",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user.split_once(':').unwrap_or((user, ""));
        let port = if topology_name == "sentinel" {
            26379
        } else {
            6379
        };
        let addresses = hosts
            .split(',')
            .map(|host| parse_address(host, port))
            .collect::<Option<Vec<_>>>()
            .ok_or("has an invalid host; a valid host is redis.example.com:6379")?;
        let mut path = path.split('/').filter(|text| !text.is_empty());
        let topology = match topology_name {
            "" => match <[Address; 1]>::try_from(addresses) {
                Ok([address]) => Topology::Standalone(address),
                Err(_) => return Err("names several hosts: use redis+sentinel:// or redis+cluster://"),
            },
            "sentinel" => Topology::Sentinel {
                sentinels: addresses,
                name: path
                    .next()
                    .ok_or("must contain the sentinels' name for the primary: redis+sentinel://host:26379/NAME")?
                    .to_owned(),
            },
            "cluster" => Topology::Cluster(addresses),
            _ => return Err(URL_FORMS),
        };
        let database = match (path.next(), path.next()) {
            (Some(text), None) => text.parse().ok().filter(|number| *number >= 0),
            (Some(_), Some(_)) => None,
            (None, _) => Some(0),
        };
        let database =
            database.ok_or("has an invalid database number; a valid URL is redis://host:6379/0")?;
        if database != 0 && matches!(topology, Topology::Cluster(_)) {
            return Err("must contain no database: a cluster has only database 0");
        }
        Ok(Self {
            topology,
            tls,
            database,
            username: percent_decode_non_empty(username)?,
            password: percent_decode_non_empty(password)?.map(Secret::new),
        })
    }
}

/// Parses a host with an optional port.
fn parse_address(text: &str, default_port: u16) -> Option<Address> {
    let url = Url::parse(&format!("redis://{text}/")).ok()?;
    if text.contains(['@', '/']) {
        return None;
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(Address {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(default_port),
    })
}

/// Percent-decodes a part of a URL. Returns `None` if the part is empty.
fn percent_decode_non_empty(text: &str) -> Result<Option<String>, &'static str> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "has a user or password that is not UTF-8")?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn parses_urls_of_every_topology() {
        let standalone = RedisTarget::parse("redis://:p%40ss@redis.example.com/3").unwrap();
        assert_eq!(
            standalone,
            RedisTarget {
                topology: Topology::Standalone(host_address("redis.example.com", 6379)),
                tls: false,
                database: 3,
                username: None,
                password: Some(Secret::new("p@ss".to_owned())),
            }
        );
        let sentinel =
            RedisTarget::parse("rediss+sentinel://bob:x@a,b:1,[::1]:2/mymaster/1").unwrap();
        assert_eq!(
            sentinel.topology,
            Topology::Sentinel {
                sentinels: vec![
                    host_address("a", 26379),
                    host_address("b", 1),
                    host_address("::1", 2)
                ],
                name: "mymaster".to_owned(),
            }
        );
        assert_eq!((sentinel.tls, sentinel.database), (true, 1));
        assert_eq!(sentinel.username.as_deref(), Some("bob"));
        let cluster = RedisTarget::parse("valkey+cluster://10.0.0.1:7000,10.0.0.2:7001/").unwrap();
        assert_eq!(
            cluster.topology,
            Topology::Cluster(vec![
                host_address("10.0.0.1", 7000),
                host_address("10.0.0.2", 7001)
            ])
        );
    }

    #[test]
    fn rejects_invalid_urls() {
        for bad in [
            "",
            "redis:",
            "http://a",
            "redis+ring://a",
            "redis://",
            "redis://a,b",
            "redis://a:x",
            "redis://a:70000",
            "redis://a/x",
            "redis://a/-1",
            "redis://a/1/2",
            "rediss://a/#insecure",
            "redis://a/0?protocol=resp3",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a,/m",
            "redis+cluster://a/1",
            "redis://%ff@a",
        ] {
            let error = RedisTarget::parse(bad).unwrap_err();
            assert!(
                error.starts_with("must") || error.starts_with("has") || error.starts_with("names"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_password_file_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let password = Password::File(file.path().to_owned());
        for text in ["first\n", "second"] {
            std::fs::write(file.path(), text).unwrap();
            let read = password.read().unwrap().unwrap();
            assert_eq!(read.expose(), text.trim_end());
        }
        let missing = Password::File("/nonexistent/password".into());
        assert!(
            missing
                .read()
                .unwrap_err()
                .to_string()
                .contains("/nonexistent/password")
        );
    }
}
