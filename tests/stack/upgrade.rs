//! Replaces two replicas one after the other under load. No request with a valid session is denied, and no request
//! with an ended session is allowed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::backend::Backend;
use crate::support::curfew::{CreatedSession, Curfew, Setup, client};
use crate::support::deployment::{Server, installed_path, read_deploy_file, replace_once};
use crate::support::eventually;
use crate::support::nginx::Nginx;
use crate::support::redis::RedisServer;
use crate::support::{free_port, loopback};

const CLIENT_COUNT: usize = 16;

/// The results of the requests.
#[derive(Default)]
struct Counts {
    live: AtomicUsize,
    ended: AtomicUsize,
    wrong: AtomicUsize,
    stop: AtomicBool,
}

/// The setup of a replica, and the process that runs with it. The next process has the same addresses.
struct Slot {
    setup: Setup,
    curfew: Option<Curfew>,
}

impl Slot {
    fn new(redis: &RedisServer, key_setup: &Setup) -> Self {
        let port = || loopback(free_port()).to_string();
        let mut setup = Setup::redis(&redis.url())
            .set("LISTEN__CHECK", &port())
            .set("LISTEN__SPOE", &port())
            .set("LISTEN__GRPC", "off")
            .set("TOKEN__KEYS", &key_setup.key)
            .set("POLICIES__DEFAULT__TOUCH_INTERVAL", "1s")
            .set("SHUTDOWN_DELAY", "1s")
            // Many processes share two CPU cores in the tests, so Redis may answer late.
            .set("STORE__COMMAND_TIMEOUT", "500ms")
            .set("STORE__CHECK_TIMEOUT", "500ms");
        setup.key.clone_from(&key_setup.key);
        let curfew = Some(setup.start());
        Self { setup, curfew }
    }

    fn curfew(&self) -> &Curfew {
        self.curfew.as_ref().unwrap()
    }

    async fn wait_until_ready(&self) {
        eventually("the replica is ready", async || {
            self.curfew().get_ops("/readyz").await.0 == 200
        })
        .await;
    }

    /// Stops the replica as an orchestrator does, and starts the next replica with the same addresses.
    async fn upgrade(&mut self) {
        let old = self.curfew.take().unwrap();
        old.stop().await;
        self.curfew = Some(self.setup.start());
        self.wait_until_ready().await;
    }
}

/// Sends requests until the end of the test, and counts the answers with the expected status and the wrong answers.
async fn send_requests(counts: Arc<Counts>, proxy: SocketAddr, cookie: String, expected: u16) {
    let client = client();
    while !counts.stop.load(Ordering::Relaxed) {
        let request = client
            .get(format!("http://{proxy}/"))
            .header("host", "app.example.com")
            .header("cookie", &cookie);
        let status = request
            .send()
            .await
            .map_or(0, |answer| answer.status().as_u16());
        let count = match (status == expected, expected) {
            (false, _) => {
                println!("status {status} instead of {expected}");
                &counts.wrong
            }
            (true, 200) => &counts.live,
            (true, _) => &counts.ended,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// A proxy in front of two replicas.
enum Proxy {
    Nginx(Nginx),
    Haproxy {
        address: SocketAddr,
        _server: Server,
    },
}

impl Proxy {
    const NAMES: [&str; 2] = ["NGINX", "HAProxy"];

    fn start(name: &str, slots: &[Slot; 2], application: SocketAddr) -> Self {
        let [one, two] = slots.each_ref().map(Slot::curfew);
        if name == "NGINX" {
            let second = (
                // By default, NGINX excludes a replica for 10 s after a failure. This is longer than the replica is
                // away, so the test sets 2 s.
                ";\n    keepalive 32;\n}\n\n# Curfew's listener",
                format!(
                    " fail_timeout=2s;\n    server {} fail_timeout=2s;\n    keepalive 32;\n}}\n\n# Curfew's listener",
                    two.check
                ),
            );
            return Self::Nginx(Nginx::start_with_replacements(
                one.listeners(),
                application,
                &[second],
            ));
        }
        let address = loopback(free_port());
        let server = "server-template curfew 4 curfew:9182 check inter 2s fall 3 rise 1 resolvers system init-addr libc,none";
        let text = replace_once(
            &read_deploy_file("haproxy/haproxy.cfg"),
            &[
                (
                    server,
                    format!(
                        "server curfew-1 {} check inter 2s fall 3 rise 1\n    \
                         server curfew-2 {} check inter 2s fall 3 rise 1",
                        one.spoe.unwrap(),
                        two.spoe.unwrap()
                    ),
                ),
                ("curfew:9183", one.browser.to_string()),
                ("application:3000", application.to_string()),
                ("bind :8080", format!("bind {address}")),
            ],
        );
        let server = Server::start(
            std::process::Command::new(installed_path("haproxy")).args([
                "-db",
                "-f",
                "haproxy.cfg",
            ]),
            &[
                ("haproxy.cfg", &text),
                (
                    "curfew-spoe.conf",
                    &read_deploy_file("haproxy/curfew-spoe.conf"),
                ),
            ],
            &[address],
        );
        Self::Haproxy {
            address,
            _server: server,
        }
    }

    const fn address(&self) -> SocketAddr {
        match self {
            Self::Nginx(nginx) => nginx.address,
            Self::Haproxy { address, .. } => *address,
        }
    }
}

#[tokio::test]
async fn an_upgrade_of_two_replicas_gives_no_wrong_answer() {
    let mut counts_by_proxy = BTreeMap::new();
    for name in Proxy::NAMES {
        let redis = RedisServer::start();
        let key_setup = Setup::memory();
        let mut slots = [Slot::new(&redis, &key_setup), Slot::new(&redis, &key_setup)];
        for slot in &slots {
            slot.wait_until_ready().await;
        }
        let backend = Backend::start().await;
        let proxy = Proxy::start(name, &slots, backend.address);
        let counts = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENT_COUNT {
            let curfew = slots[number % 2].curfew();
            let session: CreatedSession = curfew.sign_in(&format!("user {number}")).await;
            let expected = if number % 4 == 0 {
                curfew.revoke(&session).await;
                401
            } else {
                200
            };
            let get = async |client: reqwest::Client| {
                let url = format!("http://{}/", proxy.address());
                let request = client.get(url).header("host", "app.example.com");
                request
                    .header("cookie", session.cookie())
                    .send()
                    .await
                    .unwrap()
                    .status()
            };
            // Waits until the session or its end has reached all replicas.
            eventually("every replica gives the right answers", async || {
                get(client()).await == expected
            })
            .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let cookie = session.cookie();
            clients.spawn(send_requests(
                Arc::clone(&counts),
                proxy.address(),
                cookie,
                expected,
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = slots.each_ref().map(|slot| slot.curfew().process_id());
        for slot in &mut slots {
            slot.upgrade().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        for (slot, id) in slots.iter().zip(before) {
            assert_ne!(slot.curfew().process_id(), id);
        }
        // While the second replica restarts, all checks go to the first replica. HAProxy may continue to use only
        // that one, so the test does not look at the second replica.
        let (_, metrics) = slots[0].curfew().get_ops("/metrics").await;
        assert!(
            metrics.contains("verdict=\"allow\""),
            "HAProxy should use the new process of the first replica"
        );
        counts.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let row = [&counts.live, &counts.ended, &counts.wrong].map(count);
        assert!(row[0] > 500 && row[1] > 100, "{row:?}");
        counts_by_proxy.insert(name, row);
    }
    println!(
        "\n| proxy | allowed requests with live sessions | denied requests with ended sessions | wrong answers |\n|---|--:|--:|--:|"
    );
    for (name, [live, ended, wrong]) in &counts_by_proxy {
        println!("| {name} | {live} | {ended} | {wrong} |");
    }
    assert!(counts_by_proxy.values().all(|row| row[2] == 0));
}
