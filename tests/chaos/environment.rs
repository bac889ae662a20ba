//! The servers of a scenario: two replicas of Curfew on one store, under load.

use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::client::{Addresses, Client};
use crate::load::Load;
use crate::model::{DEFAULT, MEDIUM, Policy, SHORT, STREAM, STREAM_GRACE, TYPING};
use crate::record::Record;
use crate::runner::RunLength;
use crate::stream::HOST;
use crate::support::backend::Backend;
use crate::support::curfew::{Curfew, Setup};
use crate::support::{free_port, loopback};

/// The longest time that [`Environment::finish`] waits for the recovery, in seconds.
const RECOVERY_TIMEOUT_SECONDS: f64 = 20.0;

pub struct Environment {
    setups: [Setup; 2],
    /// None for a killed replica.
    replicas: [Option<Curfew>; 2],
    pub load: Arc<Load>,
    pub record: Arc<Record>,
    length: RunLength,
    /// The configuration of the proxy listeners, which a replica reads when it starts again.
    _config: NamedTempFile,
}

impl Environment {
    /// Starts both replicas on the store at `url`, then the load.
    pub async fn start(url: &str, record: &Arc<Record>, length: RunLength) -> Self {
        Self::start_with_confirmations(url, record, length, 0).await
    }

    /// Does the same as [`start`](Self::start), but `wait_replicas` Redis replicas must confirm each change.
    pub async fn start_with_confirmations(
        url: &str,
        record: &Arc<Record>,
        length: RunLength,
        wait_replicas: u16,
    ) -> Self {
        let application = Backend::start().await;
        let config = write_configuration(&application);
        let policies = [DEFAULT, MEDIUM, SHORT, STREAM, TYPING];
        let common = policies.iter().fold(Setup::redis(url), add_policy);
        let common = common
            .default_store_timeouts()
            .config_file(config.path())
            .set("POLICIES__TYPING__STREAM_ACTIVITY", "client_data")
            .set(
                "POLICIES__STREAM__STREAM_GRACE",
                &format!("{}s", STREAM_GRACE.as_secs()),
            )
            .set("STORE__WAIT_REPLICAS", &wait_replicas.to_string())
            .set("STORE__WAIT_TIMEOUT", "1s")
            .set("LOG__FILTER", "warn,curfew::audit=info");
        let addresses = [(); 2].map(|()| Addresses {
            check: loopback(free_port()),
            proxy: loopback(free_port()),
            admin: loopback(free_port()),
        });
        let setups = addresses.map(|addresses| {
            let setup = common.clone();
            setup
                .set("LISTEN__CHECK", &addresses.check.to_string())
                .set("LISTEN__PROXY", &addresses.proxy.to_string())
                .set("LISTEN__ADMIN", &addresses.admin.to_string())
        });
        let replicas = [0, 1].map(|replica| Some(setups[replica].start()));
        record.add_event("the load has begun");
        let client = Client::new(&common.admin_token, addresses, Arc::clone(record));
        let load = Load::start(client, Arc::clone(record)).await;
        let environment = Self {
            setups,
            replicas,
            load,
            record: Arc::clone(record),
            length,
            _config: config,
        };
        environment.pause(2.0).await;
        environment
    }

    /// Lets the load run for this number of seconds. A long run multiplies the time.
    pub async fn pause(&self, seconds: f64) {
        let time = Duration::from_secs_f64(seconds * self.length.time_factor);
        tokio::time::sleep(time).await;
    }

    /// Kills a replica with SIGKILL.
    pub fn kill(&mut self, replica: usize) {
        let killed = self.replicas[replica].take().unwrap();
        self.record.add_lost_connections();
        killed.signal("KILL");
    }

    pub fn start_again(&mut self, replica: usize) {
        self.replicas[replica] = Some(self.setups[replica].start());
    }

    /// Waits until both replicas have recovered. Then waits longer than the idle limit of a short session, and ends
    /// the load.
    pub async fn finish(self) {
        let started = tokio::time::Instant::now();
        while !self.record.has_recovered()
            && started.elapsed().as_secs_f64() < RECOVERY_TIMEOUT_SECONDS
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.pause(2.6).await;
        self.record.add_event("the load has ended");
        self.load.stop().await;
        self.record.close();
        let logs = [0, 1].map(|replica| {
            let running = self.replicas[replica].as_ref();
            running.map_or(String::new(), Curfew::log)
        });
        for wrong in &mut self.record.observations().wrong_answers {
            for (replica, log) in logs.iter().enumerate() {
                let lines = log.lines().filter(|line| {
                    line.contains(&wrong.session) && !line.contains("store_unavailable")
                });
                let lines = lines.map(|line| format!("replica {replica} logged {line}"));
                wrong.log.extend(lines.take(4));
            }
        }
    }
}

/// Writes the configuration of the proxy listeners.
fn write_configuration(application: &Backend) -> NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let target = application.address;
    let yaml = format!("proxy: {{upstreams: [{{host: {HOST}, target: 'http://{target}'}}]}}\n");
    std::fs::write(file.path(), yaml).unwrap();
    file
}

/// Returns the setup with a further policy.
fn add_policy(setup: Setup, policy: &Policy) -> Setup {
    let name = policy.name.to_uppercase();
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    setup
        .set(&format!("POLICIES__{name}__IDLE"), &seconds(policy.idle))
        .set(
            &format!("POLICIES__{name}__ABSOLUTE"),
            &seconds(policy.absolute),
        )
}
