//! Connections to Redis: one server, a primary found by sentinels, or a cluster.

mod connect;
pub(super) mod info;
mod open;
mod request;
mod sentinel;
mod settings;

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value};

pub(super) use connect::{Connector, NewConnection};
pub use open::ConnectError;
pub(super) use open::{Credentials, is_primary, subscribe};
pub(super) use request::Request;
pub use settings::{Address, Password, RedisSettings, RedisTarget, Tls, Topology};

/// A multiplexed connection to one server or to all nodes of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Timeout for a background command to a single server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl Connection {
    /// Sends a command to every primary. Returns each reply with the address of its primary; the address is `None`
    /// for a single server.
    pub(super) async fn ask_every_primary(
        &mut self,
        command: &Cmd,
    ) -> RedisResult<Vec<(Option<Address>, Value)>> {
        let cluster = match self {
            Self::Single(connection) => {
                let answer = with_timeout(command.query_async(connection)).await?;
                return Ok(vec![(None, answer)]);
            }
            Self::Cluster(cluster) => cluster,
        };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = with_timeout(cluster.route_command(command.clone(), all)).await?;
        let Value::Map(answers) = answers else {
            return Err(unexpected_reply(
                "the reply of the cluster has no entry per node",
            ));
        };
        answers
            .into_iter()
            .map(|(address, answer)| {
                let address: String = redis::from_redis_value(address)?;
                let address = parse_address(&address)
                    .ok_or_else(|| unexpected_reply("invalid address of a cluster node"))?;
                Ok((Some(address), answer))
            })
            .collect()
    }

    /// Sends a command to one server. `server` is an address from [`Connection::ask_every_primary`].
    pub(super) async fn ask_server(
        &mut self,
        server: Option<&Address>,
        command: &Cmd,
    ) -> RedisResult<Value> {
        match (self, server) {
            (Self::Cluster(cluster), Some(address)) => {
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress {
                    host: address.host.clone(),
                    port: address.port,
                });
                with_timeout(cluster.route_command(command.clone(), routing)).await
            }
            (connection, _) => with_timeout(command.query_async(connection)).await,
        }
    }
}

/// Limits the wait for a reply, because a server that hangs never replies.
async fn with_timeout(answer: impl Future<Output = RedisResult<Value>>) -> RedisResult<Value> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// Parses `host:port`. The host may be an IPv6 address with or without brackets.
fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Address {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().ok()?,
    })
}

fn unexpected_reply(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
