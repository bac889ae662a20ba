//! A Redis cluster: three primaries, each with a Redis replica.

use std::process::{Command, Stdio};

use super::redis::{RedisServer, command, info_field};
use super::tls::Certificates;
use super::{eventually, free_port};

pub struct Cluster {
    pub servers: Vec<RedisServer>,
}

impl Cluster {
    /// Starts the cluster, and waits until every server reports a healthy cluster.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Like [`start`](Self::start), with TLS between all servers.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_with(Some(certificates)).await
    }

    async fn start_with(certificates: Option<&Certificates>) -> Self {
        let servers: Vec<RedisServer> = (0..6).map(|_| start_server(certificates)).collect();
        let addresses = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let addresses: Vec<String> = addresses.collect();
        let mut arguments = vec!["create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        cluster_tool(&arguments);
        let cluster = Self { servers };
        cluster.wait_until_stable().await;
        cluster
    }

    /// Returns the `store.url` of the cluster, which names the first three servers.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.servers[..3]
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.public_port()))
            .collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// Returns the indexes of the servers that are primaries.
    pub fn primary_indexes(&self) -> Vec<usize> {
        (0..self.servers.len())
            .filter(|index| info_field(&self.servers[*index], "role") == "master")
            .collect()
    }

    /// Returns the index of the primary whose clock Curfew reads: the primary with the lowest address.
    pub fn clock_primary_index(&self) -> usize {
        let primary_indexes = self.primary_indexes().into_iter();
        let first = primary_indexes.min_by_key(|index| self.servers[*index].port);
        first.expect("the cluster should have a primary")
    }

    /// Returns the index of the primary that has `key`.
    pub fn primary_index_of(&self, key: &[u8]) -> usize {
        let primary_indexes = self.primary_indexes();
        let has_key = |index: &&usize| {
            let url = self.servers[**index].url();
            command::<bool>(&url, &[b"EXISTS", key]) == Ok(true)
        };
        *primary_indexes
            .iter()
            .find(has_key)
            .expect("one primary should have the key")
    }

    /// Moves `count` slots and their keys from the other shards to the first shard.
    pub async fn move_slots(&self, count: usize) {
        let target = self.primary_indexes()[0];
        self.reshard(target, count).await;
    }

    /// Adds a server, and moves slots to it.
    pub async fn add_shard(&mut self, slots: usize) {
        let new_server = start_server(None);
        // CLUSTER MEET assumes that the bus port is the port plus 10000. The servers use other bus ports, so pass
        // the bus port of the first server.
        let (port, bus_port) = (self.servers[0].port, self.bus_port());
        new_server.command::<()>(&[
            b"CLUSTER",
            b"MEET",
            b"127.0.0.1",
            port.to_string().as_bytes(),
            bus_port.as_bytes(),
        ]);
        self.servers.push(new_server);
        let target = self.servers.len() - 1;
        eventually("all servers know the new server", async || {
            self.servers.iter().all(|server| {
                let nodes: redis::RedisResult<String> =
                    command(&server.url(), &[b"CLUSTER", b"NODES"]);
                nodes.is_ok_and(|nodes| nodes.lines().count() == self.servers.len())
            })
        })
        .await;
        self.reshard(target, slots).await;
    }

    /// Returns the bus port of the first server: the number behind `@` in `CLUSTER NODES`.
    fn bus_port(&self) -> String {
        let nodes: String = self.servers[0].command(&[b"CLUSTER", b"NODES"]);
        let own_line = nodes.lines().find(|line| line.contains("myself"));
        let bus_port = own_line.and_then(|line| line.split_once('@')?.1.split([' ', ',']).next());
        bus_port
            .expect("CLUSTER NODES should contain the bus port of the server")
            .to_owned()
    }

    async fn reshard(&self, target: usize, count: usize) {
        let id: String = self.servers[target].command(&[b"CLUSTER", b"MYID"]);
        let address = format!("127.0.0.1:{}", self.servers[0].port);
        self.wait_for_agreement(&address).await;
        let count = count.to_string();
        let mut arguments = vec![
            "reshard",
            &address,
            "--cluster-to",
            &id,
            "--cluster-from",
            "all",
        ];
        arguments.extend(["--cluster-slots", &count, "--cluster-yes"]);
        cluster_tool(&arguments);
        self.wait_for_agreement(&address).await;
    }

    /// Waits until all servers report the same owner of every slot.
    async fn wait_for_agreement(&self, address: &str) {
        eventually("all servers agree on the slots", async || {
            self.servers.iter().all(is_healthy) && try_cluster_tool(&["check", address])
        })
        .await;
    }

    /// Returns the index of the primary that owns the slot of `key`.
    pub fn slot_owner_index(&self, key: &[u8]) -> usize {
        let owns_slot = |index: &&usize| {
            let url = self.servers[**index].url();
            // Other servers answer with a redirection.
            command::<i64>(&url, &[b"PEXPIRETIME", key]).is_ok()
        };
        *self
            .primary_indexes()
            .iter()
            .find(owns_slot)
            .expect("one primary should own the slot")
    }

    /// Waits until there are three primaries with one Redis replica each, and every server reports a healthy cluster.
    pub async fn wait_until_stable(&self) {
        eventually("the cluster is healthy", async || {
            let primary_indexes = self.primary_indexes();
            self.servers.iter().all(is_healthy)
                && primary_indexes.len() == 3
                && primary_indexes.iter().all(|index| {
                    info_field(&self.servers[*index], "slave0").contains("state=online")
                })
        })
        .await;
    }

    /// Waits until there are three primaries other than `before`, and each of them reports a healthy cluster.
    pub async fn wait_for_fail_over(&self, before: usize) {
        eventually("another server is the primary", async || {
            let primary_indexes = self.primary_indexes().into_iter();
            let others: Vec<usize> = primary_indexes.filter(|index| *index != before).collect();
            let mut servers = others.iter().map(|index| &self.servers[*index]);
            others.len() >= 3 && servers.all(is_healthy)
        })
        .await;
    }
}

/// Runs `redis-cli --cluster`.
fn cluster_tool(arguments: &[&str]) {
    assert!(
        try_cluster_tool(arguments),
        "redis-cli --cluster failed: {arguments:?}"
    );
}

fn try_cluster_tool(arguments: &[&str]) -> bool {
    let status = Command::new("redis-cli")
        .arg("--cluster")
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .expect("redis-cli should be installed");
    status.success()
}

/// Returns whether a server reports `cluster_state:ok`.
fn is_healthy(server: &RedisServer) -> bool {
    let info: redis::RedisResult<String> = command(&server.url(), &[b"CLUSTER", b"INFO"]);
    info.is_ok_and(|info| info.contains("cluster_state:ok"))
}

fn start_server(certificates: Option<&Certificates>) -> RedisServer {
    // The default bus port, the port plus 10000, may be in use, so choose a free port.
    let bus_port = free_port().to_string();
    let server_options = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-node-timeout",
        "1000",
        "--cluster-port",
        &bus_port,
        // With 0, a Redis replica replaces a lost primary even if the data of the Redis replica is old.
        "--cluster-replica-validity-factor",
        "0",
    ];
    let mut options = server_options.map(str::to_owned).to_vec();
    if let Some(certificates) = certificates {
        options.extend(certificates.redis_options());
        let words = ["--tls-cluster", "yes", "--tls-replication", "yes"];
        options.extend(words.map(str::to_owned));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    RedisServer::start_with_options(&options)
}
