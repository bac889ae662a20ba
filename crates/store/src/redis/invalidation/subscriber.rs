//! Receives the invalidations (messages about changed records) that all processes publish on a Redis channel.
//!
//! Redis delivers a message only to current subscribers, so a process could miss messages without noticing. Therefore
//! every process sends heartbeats to itself: it publishes them on its write connection to every primary, and receives
//! them on its subscription.
//!
//! Each server delivers messages in order. When a heartbeat returns, all earlier messages of that server have arrived.
//! So the process takes, for each primary, the latest heartbeat that has returned. All invalidations that were
//! published before the oldest of these heartbeats have arrived. Heartbeats have numbers, because a missing number
//! shows that an invalidation may be missing too.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::aio::PubSubStream;
use tokio_util::sync::CancellationToken;

use crate::InvalidationListener;
use crate::clock::Clock;
use crate::redis::connection::{Address, Connection, Credentials, subscribe};
use crate::redis::cut_offs::LocalCopy;
use crate::redis::invalidation::protocol::{Heartbeat, Message, SUBSCRIPTION_ID_BYTES};
use crate::redis::{ConnectError, RedisStore};
use crate::session::Timestamp;
use crate::telemetry::{Diagnostics, Replica, Replicas};

/// Interval between heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How many heartbeats a process sends between two announcements that it is running.
const HEARTBEATS_PER_INTRODUCTION: u64 = 10;
/// If no heartbeat returns for this time, the subscription counts as broken.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Delay before a new subscription after a transient error.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Delay before a new subscription if the ACL denies it.
const DENIED_RETRY_DELAY: Duration = Duration::from_secs(30);
/// The name of the near cache in the diagnostics.
const DIAGNOSTICS_SOURCE: &str = "near_cache";

/// The heartbeats of one subscription.
#[derive(Debug)]
struct Heartbeats {
    subscription: [u8; SUBSCRIPTION_ID_BYTES],
    /// When the pending heartbeats were sent, oldest first. A heartbeat is pending until all servers have returned
    /// it.
    sent_at: VecDeque<Timestamp>,
    /// The number of the first pending heartbeat.
    first_pending: u64,
    /// How many heartbeats each server has returned.
    returned_counts: Vec<u64>,
}

impl Heartbeats {
    fn new(subscription: [u8; SUBSCRIPTION_ID_BYTES], servers: usize) -> Self {
        Self {
            subscription,
            sent_at: VecDeque::new(),
            first_pending: 0,
            returned_counts: vec![0; servers],
        }
    }

    /// Creates the next heartbeats, one for each server.
    fn next_round(&mut self, now: Timestamp) -> Vec<Heartbeat> {
        let number = self.first_pending + self.sent_at.len() as u64;
        self.sent_at.push_back(now);
        let servers =
            (0..self.returned_counts.len()).filter_map(|server| u16::try_from(server).ok());
        let heartbeats = servers.map(|server| Heartbeat {
            subscription: self.subscription,
            server,
            number,
        });
        heartbeats.collect()
    }

    /// Records that a heartbeat has returned. A round is complete when every server has returned its heartbeat. If
    /// this heartbeat completes a round, returns the time at which the round was sent.
    fn receive(&mut self, heartbeat: &Heartbeat) -> Result<Option<Timestamp>, MissingHeartbeat> {
        if heartbeat.subscription != self.subscription {
            return Ok(None);
        }
        let returned = self
            .returned_counts
            .get_mut(usize::from(heartbeat.server))
            .ok_or(MissingHeartbeat)?;
        if heartbeat.number != *returned {
            return Err(MissingHeartbeat);
        }
        *returned += 1;
        let complete_rounds = self.returned_counts.iter().copied().min().unwrap_or(0);
        let mut latest_sent_at = None;
        while self.first_pending < complete_rounds {
            self.first_pending += 1;
            latest_sent_at = self.sent_at.pop_front();
        }
        Ok(latest_sent_at)
    }
}

/// The error for a missing heartbeat: other messages may be missing too.
#[derive(Debug, PartialEq, Eq)]
struct MissingHeartbeat;

/// Why a subscription ended.
enum SubscriptionError {
    /// A new subscription may succeed after a moment.
    Transient(String),
    /// The ACL denies the subscription.
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
    /// Passes the invalidations of all processes to `listener` until `stop`. `clock` is the clock of the listener. If
    /// the ACL denies the subscription, the diagnostics show the problem. On the channel for invalidations, replicas
    /// also announce that they are running, and `replicas` records these announcements.
    pub async fn follow_invalidations(
        &self,
        listener: &dyn InvalidationListener,
        clock: &dyn Clock,
        diagnostics: &Diagnostics,
        replicas: &Replicas,
        stop: CancellationToken,
    ) {
        let following = async {
            let mut attempt = 0;
            loop {
                let error = self
                    .listen(attempt, listener, clock, diagnostics, replicas)
                    .await;
                listener.on_lost_invalidation();
                replicas.mark_channel_incomplete();
                attempt += 1;
                let pause = match error {
                    SubscriptionError::Transient(why) => {
                        tracing::info!(%why, "subscription to the invalidation channel lost; subscribing again");
                        RETRY_DELAY
                    }
                    SubscriptionError::Denied(why) => {
                        let warning = format!(
                            "the ACL of Redis denies the invalidation channel ({why}), so each check asks Redis: grant \
                             the ACL user &{}ends +publish +subscribe",
                            self.managed_connection.settings().prefix
                        );
                        diagnostics.set_recommendations(DIAGNOSTICS_SOURCE, vec![warning]);
                        DENIED_RETRY_DELAY
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Subscribes, and processes messages until the subscription ends. Returns the cause.
    async fn listen(
        &self,
        attempt: usize,
        listener: &dyn InvalidationListener,
        clock: &dyn Clock,
        diagnostics: &Diagnostics,
        replicas: &Replicas,
    ) -> SubscriptionError {
        let mut incarnation = self.managed_connection.incarnation();
        let listening = async {
            let connection = self.managed_connection.acquire(Duration::MAX).await;
            let connection =
                connection.map_err(|error| SubscriptionError::Transient(error.to_string()))?;
            incarnation.mark_unchanged();
            let servers = self.managed_connection.cluster_primaries();
            let target = self.managed_connection.subscribe_target(attempt);
            let target = target
                .ok_or_else(|| SubscriptionError::Transient("no Redis server known".to_owned()))?;
            let settings = self.managed_connection.settings();
            let channel = self.keys.invalidation_channel();
            let messages =
                subscribe(settings, &target, &Credentials::read(settings)?, &channel).await?;
            listener.on_lost_invalidation();
            let mut subscription_id = [0; SUBSCRIPTION_ID_BYTES];
            getrandom::fill(&mut subscription_id)
                .map_err(|error| SubscriptionError::Transient(error.to_string()))?;
            let heartbeats = Mutex::new(Heartbeats::new(subscription_id, servers.len().max(1)));
            let subscription = Subscription {
                heartbeats: &heartbeats,
                listener,
                clock,
                diagnostics,
                replicas,
                cut_offs: &self.cut_offs,
            };
            let transient = |why: &str| SubscriptionError::Transient(why.to_owned());
            tokio::select! {
                biased;
                () = self.managed_connection.wait_until_lost() => Err(transient("the write connection was lost")),
                _ = incarnation.changed() => Err(transient("change of primary, or a new connection")),
                error = subscription.process_messages(messages) => Err(error),
                error = subscription.send_heartbeats(connection, &servers, &channel) => Err(error),
            }
        };
        let Err(error): Result<std::convert::Infallible, _> = listening.await;
        error
    }
}

/// A running subscription.
struct Subscription<'a> {
    heartbeats: &'a Mutex<Heartbeats>,
    listener: &'a dyn InvalidationListener,
    clock: &'a dyn Clock,
    diagnostics: &'a Diagnostics,
    replicas: &'a Replicas,
    cut_offs: &'a LocalCopy,
}

impl Subscription<'_> {
    /// Publishes heartbeats on every primary until an error occurs.
    async fn send_heartbeats(
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
            let heartbeats = self.heartbeats.lock().next_round(self.clock.now());
            let publishing = heartbeats.into_iter().map(async |heartbeat| {
                let mut publish = redis::cmd("PUBLISH");
                publish
                    .arg(channel)
                    .arg(Message::Heartbeat(heartbeat).encode());
                let server = servers.get(usize::from(heartbeat.server));
                connection.clone().ask_server(server, &publish).await
            });
            let sent = tokio::time::timeout(HEARTBEAT_TIMEOUT, try_join_all(publishing)).await;
            match sent {
                Ok(Ok(_)) => {
                    let mut pause = std::pin::pin!(tokio::time::sleep(HEARTBEAT_INTERVAL));
                    loop {
                        tokio::select! {
                            () = &mut pause => break,
                            () = self.cut_offs.announcement_due.notified() => {
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
                        "could not publish a heartbeat: timeout".to_owned(),
                    );
                }
            }
        }
    }

    /// Announces that this replica is running. The message also contains the number of the last change of cut-offs and
    /// emergency revocations that this replica has read.
    async fn introduce(
        &self,
        connection: &Connection,
        servers: &[Address],
        channel: &[u8],
    ) -> redis::RedisResult<()> {
        let introduction = Message::Introduction(Replica {
            revocations: Some(self.cut_offs.last_read_change.load(Ordering::Acquire)),
            ..self.replicas.this().clone()
        });
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(introduction.encode());
        // One server is enough, because Redis delivers a message that was published on any server to all subscribers.
        connection
            .clone()
            .ask_server(servers.first(), &publish)
            .await
            .map(drop)
    }

    /// Processes messages until no heartbeat has returned for [`HEARTBEAT_TIMEOUT`], or an error occurs.
    async fn process_messages(&self, mut messages: PubSubStream) -> SubscriptionError {
        loop {
            let timed_out = SubscriptionError::Transient(format!(
                "no heartbeat returned within {HEARTBEAT_TIMEOUT:?}"
            ));
            // Only heartbeats extend the timeout: messages from other processes do not show that this process's own
            // messages arrive.
            let round = tokio::time::timeout(
                HEARTBEAT_TIMEOUT,
                self.process_until_heartbeats_return(&mut messages),
            )
            .await;
            match round {
                Ok(Ok(since)) => {
                    self.listener.caught_up_to(since);
                    self.replicas.mark_channel_complete();
                    self.diagnostics
                        .set_recommendations(DIAGNOSTICS_SOURCE, Vec::new());
                }
                Ok(Err(error)) => return error,
                Err(_) => return timed_out,
            }
        }
    }

    /// Processes messages until a round of heartbeats is complete. Returns the time up to which all messages have
    /// arrived.
    async fn process_until_heartbeats_return(
        &self,
        messages: &mut PubSubStream,
    ) -> Result<Timestamp, SubscriptionError> {
        loop {
            let Some(message) = messages.next().await else {
                return Err(SubscriptionError::Transient(
                    "the connection of the subscription was lost".to_owned(),
                ));
            };
            match Message::decode(message.get_payload_bytes()) {
                Some(Message::Invalidation(id, at)) => self.listener.invalidate(id, at),
                Some(Message::Heartbeat(heartbeat)) => {
                    let round = self.heartbeats.lock().receive(&heartbeat);
                    let missing = |MissingHeartbeat| {
                        SubscriptionError::Transient("a heartbeat was lost".to_owned())
                    };
                    if let Some(since) = round.map_err(missing)? {
                        return Ok(since);
                    }
                }
                Some(Message::CutOffs) => self.cut_offs.change_announced.notify_one(),
                Some(Message::Introduction(replica)) => {
                    self.replicas.record_message(replica, self.clock.now());
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
        let (first, second) = (heartbeats.next_round(at(0)), heartbeats.next_round(at(1)));
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
            "the same heartbeat should not count twice"
        );
    }

    proptest! {
        /// The heartbeats of the servers return in random order.
        #[test]
        fn reports_completeness_only_after_all_heartbeats(order in proptest::collection::vec(0_usize..3, 0..60), lost in 0_usize..60) {
            let mut heartbeats = Heartbeats::new(*b"listener", 3);
            let mut queues = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
            for number in 0..20 {
                let round = heartbeats.next_round(START.plus(Duration::from_secs(number)));
                for (queue, heartbeat) in queues.iter_mut().zip(round) {
                    queue.push_back(heartbeat);
                }
            }
            let mut returned_counts = [0_u64; 3];
            for (step, server) in order.into_iter().enumerate() {
                let Some(heartbeat) = queues[server].pop_front() else { continue };
                returned_counts[server] += 1;
                if step == lost {
                    if let Some(next) = queues[server].pop_front() {
                        prop_assert_eq!(heartbeats.receive(&next), Err(MissingHeartbeat));
                    }
                    return Ok(());
                }
                if let Some(since) = heartbeats.receive(&heartbeat).unwrap() {
                    let all = returned_counts.iter().min().unwrap();
                    prop_assert_eq!(since, START.plus(Duration::from_secs(all - 1)));
                }
            }
        }
    }
}
