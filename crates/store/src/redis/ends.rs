//! Ends are told to every process at once, on a channel of Redis.
//!
//! A message on a channel goes to whoever listens at that moment, and is lost on all others. So
//! every process sends beats over the same way: by the connection that it writes with, to every
//! primary, and from there back to itself. Messages of one server come in the order in which they
//! were sent, so when a beat is heard, all that this server was told before the beat is heard, too.
//! What is heard is whole up to the oldest of the latest beats of all primaries. Beats are counted:
//! where one is missing, a message of somebody else may be missing, too.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::aio::PubSubStream;
use tokio_util::sync::CancellationToken;

use super::message::{Beat, LISTENER};
use super::not_before::LocalCopy;
use super::open::{self, Credentials};
use super::settings::Address;
use super::wire::Wire;
use super::{ConnectError, RedisStore};
use crate::InvalidationListener;
use crate::clock::Clock;
use crate::session::Timestamp;
use crate::telemetry::{Diagnostics, Replica, Replicas};

pub(super) use super::message::Message;

/// How often a beat is sent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// With how many beats a process says once who it is.
const BEATS_TO_INTRODUCTION: u64 = 10;
/// How old the latest beat may be that was heard, before what is heard counts as broken.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before the channel is listened to again.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The pause where the server does not allow it.
const DENIED_RETRY_DELAY: Duration = Duration::from_secs(30);
/// What the operator is told under.
const SOURCE: &str = "near_cache";

/// The beats of one listener.
#[derive(Debug)]
struct Heartbeats {
    listener: [u8; LISTENER],
    /// When each was sent that has not come back from all servers, the oldest first.
    sent: VecDeque<Timestamp>,
    /// The number of the first one of those.
    first: u64,
    /// How many have come back from each server.
    heard: Vec<u64>,
}

impl Heartbeats {
    fn new(listener: [u8; LISTENER], servers: usize) -> Self {
        Self {
            listener,
            sent: VecDeque::new(),
            first: 0,
            heard: vec![0; servers],
        }
    }

    /// The next beats, one for each server.
    fn next(&mut self, now: Timestamp) -> Vec<Beat> {
        let number = self.first + self.sent.len() as u64;
        self.sent.push_back(now);
        let servers = (0..self.heard.len()).filter_map(|server| u16::try_from(server).ok());
        let beats = servers.map(|server| Beat {
            listener: self.listener,
            server,
            number,
        });
        beats.collect()
    }

    /// Hears a beat; answers when the latest one was sent that has come back from all servers, if
    /// this one makes it that.
    fn hear(&mut self, beat: &Beat) -> Result<Option<Timestamp>, Missing> {
        if beat.listener != self.listener {
            return Ok(None);
        }
        let heard = self
            .heard
            .get_mut(usize::from(beat.server))
            .ok_or(Missing)?;
        if beat.number != *heard {
            return Err(Missing);
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
struct Missing;

/// Why a listener has to begin anew.
enum SubscriptionError {
    /// It may go on after a moment.
    Passing(String),
    /// The server does not allow it.
    Refused(String),
}

impl From<ConnectError> for SubscriptionError {
    fn from(error: ConnectError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<redis::RedisError> for SubscriptionError {
    fn from(error: redis::RedisError) -> Self {
        let refused = error.code() == Some("NOPERM");
        let text = error.to_string();
        if refused {
            Self::Refused(text)
        } else {
            Self::Passing(text)
        }
    }
}

impl RedisStore {
    /// Tells `listener` what is ended, by whomever, until stopped; `clock` is the listener's. The
    /// operator is advised where the server does not let us listen. On the same way the
    /// processes introduce themselves to each other.
    pub async fn follow_ends(
        &self,
        listener: &dyn InvalidationListener,
        clock: &dyn Clock,
        advice: &Diagnostics,
        replicas: &Replicas,
        stop: CancellationToken,
    ) {
        let following = async {
            let mut attempt = 0;
            loop {
                let interruption = self
                    .listen(attempt, listener, clock, advice, replicas)
                    .await;
                listener.missed();
                replicas.missed();
                attempt += 1;
                let pause = match interruption {
                    SubscriptionError::Passing(why) => {
                        tracing::info!(%why, "ends are not heard; listening again");
                        RETRY_DELAY
                    }
                    SubscriptionError::Refused(why) => {
                        let line = format!(
                            "every check asks Redis, because ends can't be heard: allow the channel \
                             {}ends to the ACL user (&{0}ends +publish +subscribe): {why}",
                            self.link.settings().prefix
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
        listener: &dyn InvalidationListener,
        clock: &dyn Clock,
        advice: &Diagnostics,
        replicas: &Replicas,
    ) -> SubscriptionError {
        let mut incarnation = self.link.incarnation();
        let listening = async {
            let wire = self.link.wire(Duration::MAX).await;
            let wire = wire.map_err(|error| SubscriptionError::Passing(error.to_string()))?;
            incarnation.mark_unchanged();
            let servers = self.link.servers();
            let place = self.link.subscribe_target(attempt);
            let place = place.ok_or_else(|| SubscriptionError::Passing("no server".to_owned()))?;
            let settings = self.link.settings();
            let channel = self.keys.ends();
            let heard =
                open::listen(settings, &place, &Credentials::read(settings)?, &channel).await?;
            listener.missed();
            let mut name = [0; LISTENER];
            getrandom::fill(&mut name)
                .map_err(|error| SubscriptionError::Passing(error.to_string()))?;
            let beats = Mutex::new(Heartbeats::new(name, servers.len().max(1)));
            let told = Subscription {
                beats: &beats,
                listener,
                clock,
                advice,
                replicas,
                cut_offs: &self.not_before,
            };
            let passing = |why: &str| SubscriptionError::Passing(why.to_owned());
            tokio::select! {
                biased;
                () = self.link.lost() => Err(passing("the connection was given up")),
                _ = incarnation.changed() => Err(passing("another primary, or a new connection")),
                interruption = told.hear(heard) => Err(interruption),
                interruption = told.send(wire, &servers, &channel) => Err(interruption),
            }
        };
        let Err(interruption): Result<std::convert::Infallible, _> = listening.await;
        interruption
    }
}

/// A listener at work.
struct Subscription<'a> {
    beats: &'a Mutex<Heartbeats>,
    listener: &'a dyn InvalidationListener,
    clock: &'a dyn Clock,
    advice: &'a Diagnostics,
    replicas: &'a Replicas,
    cut_offs: &'a LocalCopy,
}

impl Subscription<'_> {
    /// Sends beats to every server, until one can't be sent.
    async fn send(&self, wire: Wire, servers: &[Address], channel: &[u8]) -> SubscriptionError {
        let mut number = 0_u64;
        loop {
            if number.is_multiple_of(BEATS_TO_INTRODUCTION)
                && let Err(error) = self.introduce(&wire, servers, channel).await
            {
                return error.into();
            }
            number += 1;
            let beats = self.beats.lock().next(self.clock.now());
            let sending = beats.into_iter().map(async |beat| {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(channel).arg(Message::Beat(beat).encode());
                let server = servers.get(usize::from(beat.server));
                wire.clone().ask(server, &publish).await
            });
            let sent = tokio::time::timeout(HEARTBEAT_TIMEOUT, try_join_all(sending)).await;
            match sent {
                Ok(Ok(_)) => {
                    let mut pause = std::pin::pin!(tokio::time::sleep(HEARTBEAT_INTERVAL));
                    loop {
                        tokio::select! {
                            () = &mut pause => break,
                            () = self.cut_offs.confirm.notified() => {
                                if let Err(error) = self.introduce(&wire, servers, channel).await {
                                    return error.into();
                                }
                            }
                        }
                    }
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return SubscriptionError::Passing("a beat could not be sent".to_owned()),
            }
        }
    }

    /// Tells the others that this replica is there, and how far it has read the cut-offs and rules.
    async fn introduce(
        &self,
        wire: &Wire,
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
        wire.clone().ask(servers.first(), &publish).await.map(drop)
    }

    /// Hears what is said, until nothing is said for too long.
    async fn hear(&self, mut messages: PubSubStream) -> SubscriptionError {
        loop {
            let silence = SubscriptionError::Passing("no beat is heard".to_owned());
            // Others' messages are no sign that ours come back.
            let whole =
                tokio::time::timeout(HEARTBEAT_TIMEOUT, self.next_whole(&mut messages)).await;
            match whole {
                Ok(Ok(since)) => {
                    self.listener.caught_up_to(since);
                    self.replicas.listening();
                    self.advice.set(SOURCE, Vec::new());
                }
                Ok(Err(interruption)) => return interruption,
                Err(_) => return silence,
            }
        }
    }

    /// Hears until it is certain that all up to some time was heard.
    async fn next_whole(
        &self,
        messages: &mut PubSubStream,
    ) -> Result<Timestamp, SubscriptionError> {
        loop {
            let Some(message) = messages.next().await else {
                return Err(SubscriptionError::Passing(
                    "the connection was lost".to_owned(),
                ));
            };
            match Message::decode(message.get_payload_bytes()) {
                Some(Message::End(id, at)) => self.listener.invalidate(id, at),
                Some(Message::Beat(beat)) => {
                    let whole = self.beats.lock().hear(&beat);
                    let missing =
                        |Missing| SubscriptionError::Passing("a beat was lost".to_owned());
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
    fn a_beat_counts_when_all_servers_had_it() {
        let at = |seconds| START.plus(Duration::from_secs(seconds));
        let mut beats = Heartbeats::new(*b"listener", 2);
        let (first, second) = (beats.next(at(0)), beats.next(at(1)));
        assert_eq!(beats.hear(&first[0]), Ok(None));
        assert_eq!(beats.hear(&second[0]), Ok(None));
        let other = Beat {
            listener: *b"somebody",
            ..first[1]
        };
        assert_eq!(beats.hear(&other), Ok(None));
        assert_eq!(beats.hear(&first[1]), Ok(Some(at(0))));
        assert_eq!(beats.hear(&second[1]), Ok(Some(at(1))));
        assert_eq!(beats.hear(&second[1]), Err(Missing), "twice");
    }

    proptest! {
        /// However they come back: what is said to be whole is.
        #[test]
        fn nothing_is_whole_that_was_not_heard(order in proptest::collection::vec(0_usize..3, 0..60), lost in 0_usize..60) {
            let mut beats = Heartbeats::new(*b"listener", 3);
            let mut queues = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
            for number in 0..20 {
                for (queue, beat) in queues.iter_mut().zip(beats.next(START.plus(Duration::from_secs(number)))) {
                    queue.push_back(beat);
                }
            }
            let mut taken = [0_u64; 3];
            for (step, server) in order.into_iter().enumerate() {
                let Some(beat) = queues[server].pop_front() else { continue };
                taken[server] += 1;
                if step == lost {
                    if let Some(next) = queues[server].pop_front() {
                        prop_assert_eq!(beats.hear(&next), Err(Missing));
                    }
                    return Ok(());
                }
                if let Some(since) = beats.hear(&beat).unwrap() {
                    let all = taken.iter().min().unwrap();
                    prop_assert_eq!(since, START.plus(Duration::from_secs(all - 1)));
                }
            }
        }
    }
}
