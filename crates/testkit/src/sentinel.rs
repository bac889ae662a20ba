//! A primary, two Redis replicas, and three sentinels that monitor them.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::redis::{RedisServer, command, info_field};
use super::tls::Certificates;
use super::{eventually, free_port, loopback, wait_for_listener};

/// The name of the primary in the sentinels' configuration.
const PRIMARY_NAME: &str = "main";

pub struct SentinelGroup {
    pub servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    process: Child,
    port: u16,
    /// The port for clients: the TLS port, if there is one.
    public_port: u16,
    _directory: TempDir,
}

impl SentinelGroup {
    /// Starts the servers and the sentinels, and waits until all sentinels agree.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Like [`start`](Self::start), with TLS between all servers.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_with(Some(certificates)).await
    }

    async fn start_with(certificates: Option<&Certificates>) -> Self {
        let server = |replica_options: &[&str]| {
            let mut options = replica_options
                .iter()
                .map(|&word| word.to_owned())
                .collect();
            if let Some(certificates) = certificates {
                options = [options, certificates.redis_options()].concat();
                options.extend(["--tls-replication", "yes"].map(str::to_owned));
            }
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            RedisServer::start_with_options(&options)
        };
        let primary = server(&[]);
        let port = primary.public_port().to_string();
        let replica_options = ["--replicaof", "127.0.0.1", &port];
        let servers = vec![primary, server(&replica_options), server(&replica_options)];
        // Start the sentinels only after the Redis replicas are online. Otherwise, a sentinel finds no
        // Redis replica at its start, and searches again only after ten seconds.
        eventually("both replicas follow the primary", async || {
            let online = |replica: &str| info_field(&servers[0], replica).contains("state=online");
            online("slave0") && online("slave1")
        })
        .await;
        let sentinels = (0..3)
            .map(|_| Sentinel::start(&port, certificates))
            .collect();
        let group = Self { servers, sentinels };
        group.wait_until_stable().await;
        group
    }

    pub fn url(&self) -> String {
        let addresses: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.public_port))
            .collect();
        format!("redis+sentinel://{}/{PRIMARY_NAME}", addresses.join(","))
    }

    /// Adds a user to every sentinel. `rights` contains arguments of `ACL SETUSER`.
    pub fn add_user(&self, user: &str, password: &str, rights: &str) {
        let password = format!(">{password}");
        for sentinel in &self.sentinels {
            let mut words = vec!["ACL", "SETUSER", user, "on", &password];
            words.extend(rights.split_whitespace());
            let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
            sentinel.query::<()>(&words).unwrap();
        }
    }

    /// Returns the port of the primary, if all sentinels agree.
    fn agreed_primary_port(&self) -> Option<u16> {
        let ports: Vec<Option<u16>> = self
            .sentinels
            .iter()
            .map(|sentinel| sentinel.primary_port())
            .collect();
        let first = *ports.first()?;
        ports.iter().all(|port| *port == first).then_some(first)?
    }

    /// Returns the index of the current primary among the servers.
    pub fn primary_index(&self) -> usize {
        let port = self
            .agreed_primary_port()
            .expect("all sentinels should name the same primary");
        self.index_of(port)
    }

    fn index_of(&self, port: u16) -> usize {
        let mut servers = self.servers.iter();
        servers
            .position(|server| server.public_port() == port)
            .unwrap()
    }

    /// Waits until one server is the primary, the two others replicate from it, and each sentinel lists both Redis
    /// replicas and both other sentinels.
    pub async fn wait_until_stable(&self) {
        eventually(
            "all sentinels agree, and both replicas are online",
            async || {
                let Some(port) = self.agreed_primary_port() else {
                    return false;
                };
                let primary = &self.servers[self.index_of(port)];
                let online = |replica: &str| info_field(primary, replica).contains("state=online");
                info_field(primary, "role") == "master"
                    && online("slave0")
                    && online("slave1")
                    && self.sentinels.iter().all(Sentinel::knows_all_servers)
            },
        )
        .await;
    }

    /// Waits until a server other than `before` is the primary.
    pub async fn wait_for_fail_over(&self, before: usize) {
        eventually("another server is the primary", async || {
            let now = self.agreed_primary_port().map(|port| self.index_of(port));
            now.is_some_and(|now| {
                now != before && info_field(&self.servers[now], "role") == "master"
            })
        })
        .await;
    }
}

impl Sentinel {
    fn start(primary: &str, certificates: Option<&Certificates>) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = directory.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {PRIMARY_NAME} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {PRIMARY_NAME} 1000\n\
             sentinel failover-timeout {PRIMARY_NAME} 5000\nsentinel parallel-syncs {PRIMARY_NAME} 2\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut public_port = port;
        let mut options = Vec::new();
        if let Some(certificates) = certificates {
            options = certificates.redis_options();
            options.extend(["--tls-replication", "yes"].map(str::to_owned));
            public_port = options[1].parse().unwrap();
        }
        let mut process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server should be installed");
        wait_for_listener(&mut process, loopback(port), String::new);
        Self {
            process,
            port,
            public_port,
            _directory: directory,
        }
    }

    fn query<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> Option<T> {
        command(&format!("redis://127.0.0.1:{}/", self.port), words).ok()
    }

    fn primary_port(&self) -> Option<u16> {
        let name = PRIMARY_NAME.as_bytes();
        let words: &[&[u8]] = &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name];
        let address: (String, String) = self.query(words)?;
        address.1.parse().ok()
    }

    /// Returns whether the sentinel lists both Redis replicas and both other sentinels.
    fn knows_all_servers(&self) -> bool {
        let words: &[&[u8]] = &[b"SENTINEL", b"MASTER", PRIMARY_NAME.as_bytes()];
        let fields: Option<std::collections::HashMap<String, String>> = self.query(words);
        fields.is_some_and(|fields| {
            fields["num-slaves"] == "2"
                && fields["num-other-sentinels"] == "2"
                && fields["flags"] == "master"
        })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
