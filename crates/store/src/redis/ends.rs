//! Ends are told to every process at once, on a channel of Redis.
//!
//! A message on a channel goes to whoever listens at that moment, and is lost on all others. So
//! every process sends heartbeats over the same way: by the connection that it writes with, to every
//! primary, and from there back to itself. Messages of one server come in the order in which they
//! were sent, so when a heartbeat is heard, all that this server was told before the heartbeat is heard, too.
//! What is heard is whole up to the oldest of the latest heartbeats of all primaries. Heartbeats are counted:
//! where one is missing, a message of somebody else may be missing, too.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::aio::PubSubStream;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::message::{Heartbeat, SUBSCRIPTION_ID_BYTES};
use super::not_before::LocalCopy;
use super::open::{self, Credentials};
use super::settings::Address;
use super::{ConnectError, RedisStore};
use crate::EndsListener;
use crate::clock::Clock;
use crate::session::Timestamp;
use crate::telemetry::{Advice, Replica, Replicas};

pub(super) use super::message::Message;

/// How often a heartbeat is sent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// With how many heartbeats a process says once who it is.
const HEARTBEATS_PER_INTRODUCTION: u64 = 10;
/// How old the latest heartbeat may be that was heard, before what is heard counts as broken.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before the channel is listened to again.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The pause where the server does not allow it.
const DENIED_RETRY_DELAY: Duration = Duration::from_secs(30);
/// What the operator is told under.
const SOURCE: &str = "near_cache";

/// The heartbeats of one listener.
#[derive(Debug)]
struct Heartbeats {
    subscription: [u8; SUBSCRIPTION_ID_BYTES],
    /// When each was sent that has not come back from all servers, the oldest first.
    sent: VecDeque<Timestamp>,
    /// The number of the first one of those.
    first: u64,
    /// How many have come back from each server.
    heard: Vec<u64>,
}

impl Heartbeats {
    fn new(subscription: [u8; SUBSCRIPTION_ID_BYTES], servers: usize) -> Self {
        Self {
            subscription,
            sent: VecDeque::new(),
            first: 0,
            heard: vec![0; servers],
        }
    }

    /// The next heartbeats, one for each server.
    fn next(&mut self, now: Timestamp) -> Vec<Heartbeat> {
        let number = self.first + self.sent.len() as u64;
        self.sent.push_back(now);
        let servers = (0..self.heard.len()).filter_map(|server| u16::try_from(server).ok());
        let heartbeats = servers.map(|server| Heartbeat {
            subscription: self.subscription,
            server,
            number,
        });
        heartbeats.collect()
    }

    /// Hears a heartbeat; answers when the latest one was sent that has come back from all servers, if
    /// this one makes it that.
    fn receive(&mut self, heartbeat: &Heartbeat) -> Result<Option<Timestamp>, MissingHeartbeat> {
        if heartbeat.subscription != self.subscription {
            return Ok(None);
        }
        let heard = self
            .heard
            .get_mut(usize::from(heartbeat.server))
            .ok_or(MissingHeartbeat)?;
        if heartbeat.number != *heard {
            return Err(MissingHeartbeat);
        }
        *heard += 1;
        let all = self.heard.iter().copied().min().unwrap_or(0);
        let mut latest = None;
        while self.first < all {
            self.first += 1;
            latest = self.sent.pop_front();
        }
        Ok(latest)
    }
}

/// A message was lost.
#[derive(Debug, PartialEq, Eq)]
struct MissingHeartbeat;

/// Why a listener has to begin anew.
enum SubscriptionError {
    /// It may go on after a moment.
    Transient(String),
    /// The server does not allow it.
    Denied(String),
}

impl From<ConnectError> for SubscriptionError {
    fn from(error: ConnectError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<redis::RedisError> for SubscriptionError {
    fn from(error: redis::RedisError) -> Self {
        let is_denied = error.code() == Some("NOPERM");
        let text = error.to_string();
        if is_denied {
            Self::Denied(text)
        } else {
            Self::Transient(text)
        }
    }
}

impl RedisStore {
    /// Tells `listener` what is ended, by whomever, until stopped; `clock` is the listener's. The
    /// operator is advised where the server does not let us listen. On the same way the
    /// processes introduce themselves to each other.
    pub async fn follow_ends(
        &self,
        listener: &dyn EndsListener,
        clock: &dyn Clock,
        advice: &Advice,
        replicas: &Replicas,
        stop: CancellationToken,
    ) {
        let following = async {
            let mut attempt = 0;
            loop {
                let error = self
                    .listen(attempt, listener, clock, advice, replicas)
                    .await;
                listener.missed();
                replicas.missed();
                attempt += 1;
                let pause = match error {
                    SubscriptionError::Transient(why) => {
                        tracing::info!(%why, "ends are not heard; listening again");
                        RETRY_DELAY
                    }
                    SubscriptionError::Denied(why) => {
                        let line = format!(
                            "every check asks Redis, because ends can't be heard: allow the channel \
                             {}ends to the ACL user (&{0}ends +publish +subscribe): {why}",
                            self.manager.settings().prefix
                        );
                        advice.set(SOURCE, vec![line]);
                        DENIED_RETRY_DELAY
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Listens until that is interrupted.
    async fn listen(
        &self,
        attempt: usize,
        listener: &dyn EndsListener,
        clock: &dyn Clock,
        advice: &Advice,
        replicas: &Replicas,
    ) -> SubscriptionError {
        let mut incarnation = self.manager.incarnation();
        let listening = async {
            let connection = self.manager.connection(Duration::MAX).await;
            let connection =
                connection.map_err(|error| SubscriptionError::Transient(error.to_string()))?;
            incarnation.mark_unchanged();
            let servers = self.manager.servers();
            let target = self.manager.subscribe_target(attempt);
            let target =
                target.ok_or_else(|| SubscriptionError::Transient("no server".to_owned()))?;
            let settings = self.manager.settings();
            let channel = self.keys.ends();
            let messages =
                open::listen(settings, &target, &Credentials::read(settings)?, &channel).await?;
            listener.missed();
            let mut name = [0; SUBSCRIPTION_ID_BYTES];
            getrandom::fill(&mut name)
                .map_err(|error| SubscriptionError::Transient(error.to_string()))?;
            let heartbeats = Mutex::new(Heartbeats::new(name, servers.len().max(1)));
            let subscription = Subscription {
                heartbeats: &heartbeats,
                listener,
                clock,
                advice,
                replicas,
                cut_offs: &self.not_before,
            };
            let transient = |why: &str| SubscriptionError::Transient(why.to_owned());
            tokio::select! {
                biased;
                () = self.manager.lost() => Err(transient("the connection was given up")),
                _ = incarnation.changed() => Err(transient("another primary, or a new connection")),
                error = subscription.receive(messages) => Err(error),
                error = subscription.send(connection, &servers, &channel) => Err(error),
            }
        };
        let Err(error): Result<std::convert::Infallible, _> = listening.await;
        error
    }
}

/// A listener at work.
struct Subscription<'a> {
    heartbeats: &'a Mutex<Heartbeats>,
    listener: &'a dyn EndsListener,
    clock: &'a dyn Clock,
    advice: &'a Advice,
    replicas: &'a Replicas,
    cut_offs: &'a LocalCopy,
}

impl Subscription<'_> {
    /// Sends heartbeats to every server, until one can't be sent.
    async fn send(
        &self,
        connection: Connection,
        servers: &[Address],
        channel: &[u8],
    ) -> SubscriptionError {
        let mut number = 0_u64;
        loop {
            if number.is_multiple_of(HEARTBEATS_PER_INTRODUCTION)
                && let Err(error) = self.introduce(&connection, servers, channel).await
            {
                return error.into();
            }
            number += 1;
            let heartbeats = self.heartbeats.lock().next(self.clock.now());
            let sending = heartbeats.into_iter().map(async |heartbeat| {
                let mut publish = redis::cmd("PUBLISH");
                publish
                    .arg(channel)
                    .arg(Message::Heartbeat(heartbeat).encode());
                let server = servers.get(usize::from(heartbeat.server));
                connection.clone().ask(server, &publish).await
            });
            let sent = tokio::time::timeout(HEARTBEAT_TIMEOUT, try_join_all(sending)).await;
            match sent {
                Ok(Ok(_)) => {
                    let mut pause = std::pin::pin!(tokio::time::sleep(HEARTBEAT_INTERVAL));
                    loop {
                        tokio::select! {
                            () = &mut pause => break,
                            () = self.cut_offs.confirm.notified() => {
                                if let Err(error) = self.introduce(&connection, servers, channel).await {
                                    return error.into();
                                }
                            }
                        }
                    }
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => {
                    return SubscriptionError::Transient(
                        "a heartbeat could not be sent".to_owned(),
                    );
                }
            }
        }
    }

    /// Tells the others that this replica is there, and how far it has read the cut-offs and rules.
    async fn introduce(
        &self,
        connection: &Connection,
        servers: &[Address],
        channel: &[u8],
    ) -> redis::RedisResult<()> {
        let introduction = Message::Introduction(Replica {
            revocations: Some(self.cut_offs.read_to.load(Ordering::Acquire)),
            ..self.replicas.this().clone()
        });
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(introduction.encode());
        // Whoever listens hears what is said on any server.
        connection
            .clone()
            .ask(servers.first(), &publish)
            .await
            .map(drop)
    }

    /// Hears what is said, until nothing is said for too long.
    async fn receive(&self, mut messages: PubSubStream) -> SubscriptionError {
        loop {
            let timed_out = SubscriptionError::Transient("no heartbeat is heard".to_owned());
            // Others' messages are no sign that ours come back.
            let whole = tokio::time::timeout(
                HEARTBEAT_TIMEOUT,
                self.receive_until_complete(&mut messages),
            )
            .await;
            match whole {
                Ok(Ok(since)) => {
                    self.listener.whole_until(since);
                    self.replicas.listening();
                    self.advice.set(SOURCE, Vec::new());
                }
                Ok(Err(error)) => return error,
                Err(_) => return timed_out,
            }
        }
    }

    /// Hears until it is certain that all up to some time was heard.
    async fn receive_until_complete(
        &self,
        messages: &mut PubSubStream,
    ) -> Result<Timestamp, SubscriptionError> {
        loop {
            let Some(message) = messages.next().await else {
                return Err(SubscriptionError::Transient(
                    "the connection was lost".to_owned(),
                ));
            };
            match Message::decode(message.get_payload_bytes()) {
                Some(Message::End(id, at)) => self.listener.heard(id, at),
                Some(Message::Heartbeat(heartbeat)) => {
                    let whole = self.heartbeats.lock().receive(&heartbeat);
                    let missing = |MissingHeartbeat| {
                        SubscriptionError::Transient("a heartbeat was lost".to_owned())
                    };
                    if let Some(since) = whole.map_err(missing)? {
                        return Ok(since);
                    }
                }
                Some(Message::CutOffs) => self.cut_offs.changed.notify_one(),
                Some(Message::Introduction(replica)) => {
                    self.replicas.hear(replica, self.clock.now());
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::START;

    #[test]
    fn a_heartbeat_counts_when_all_servers_returned_it() {
        let at = |seconds| START.plus(Duration::from_secs(seconds));
        let mut heartbeats = Heartbeats::new(*b"listener", 2);
        let (first, second) = (heartbeats.next(at(0)), heartbeats.next(at(1)));
        assert_eq!(heartbeats.receive(&first[0]), Ok(None));
        assert_eq!(heartbeats.receive(&second[0]), Ok(None));
        let other = Heartbeat {
            subscription: *b"somebody",
            ..first[1]
        };
        assert_eq!(heartbeats.receive(&other), Ok(None));
        assert_eq!(heartbeats.receive(&first[1]), Ok(Some(at(0))));
        assert_eq!(heartbeats.receive(&second[1]), Ok(Some(at(1))));
        assert_eq!(
            heartbeats.receive(&second[1]),
            Err(MissingHeartbeat),
            "twice"
        );
    }

    proptest! {
        /// However they come back: what is said to be whole is.
        #[test]
        fn reports_completeness_only_after_all_heartbeats(order in proptest::collection::vec(0_usize..3, 0..60), lost in 0_usize..60) {
            let mut heartbeats = Heartbeats::new(*b"listener", 3);
            let mut queues = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
            for number in 0..20 {
                for (queue, heartbeat) in queues.iter_mut().zip(heartbeats.next(START.plus(Duration::from_secs(number)))) {
                    queue.push_back(heartbeat);
                }
            }
            let mut taken = [0_u64; 3];
            for (step, server) in order.into_iter().enumerate() {
                let Some(heartbeat) = queues[server].pop_front() else { continue };
                taken[server] += 1;
                if step == lost {
                    if let Some(next) = queues[server].pop_front() {
                        prop_assert_eq!(heartbeats.receive(&next), Err(MissingHeartbeat));
                    }
                    return Ok(());
                }
                if let Some(since) = heartbeats.receive(&heartbeat).unwrap() {
                    let all = taken.iter().min().unwrap();
                    prop_assert_eq!(since, START.plus(Duration::from_secs(all - 1)));
                }
            }
        }
    }
}
