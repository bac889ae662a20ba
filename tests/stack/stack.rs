//! Starts Redis, two replicas and the application with the settings of `docker-compose.yml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::compose::Compose;
use crate::support::curfew::{Curfew, Setup};
use crate::support::deployment::Server;
use crate::support::{eventually, free_port, loopback};

pub struct Stack {
    pub compose: Compose,
    pub replicas: [Curfew; 2],
    pub application: SocketAddr,
    _servers: [Server; 2],
    _keys: TempDir,
}

impl Stack {
    pub async fn start() -> Self {
        let compose = Compose::read();
        let keys = tempfile::tempdir().unwrap();
        let keys_path = keys.path().to_str().unwrap().to_owned();
        let local_keys = |text: &str| text.replace("/var/lib/curfew", &keys_path);
        // Runs the command of the service `keys`.
        let arguments: Vec<String> = compose.string_list("keys", "command");
        let arguments: Vec<String> = arguments.iter().map(|word| local_keys(word)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(
            Setup::memory()
                .command(&arguments)
                .status()
                .unwrap()
                .success()
        );

        let redis = loopback(free_port());
        let command = compose.string_list("redis", "command");
        let redis_server = Server::start(
            Command::new(&command[0]).args(&command[1..]).args([
                "--port",
                &redis.port().to_string(),
                "--bind",
                "127.0.0.1",
            ]),
            &[],
            &[redis],
        );

        let replicas = ["curfew-1", "curfew-2"].map(|name| {
            let mounted = compose.read_mounted_files(name).remove(0);
            let text = local_keys(&mounted.1).replace("redis:6379", &redis.to_string());
            let path = keys.path().join(format!("{name}.yaml"));
            std::fs::write(&path, text).unwrap();
            let mut setup = Setup::memory()
                .unset("TOKEN__KEYS")
                .unset("ADMIN__TOKEN_HASHES")
                .unset("ADMIN__ALLOW_AGEING")
                .set("LISTEN__SPOE", "127.0.0.1:0");
            for (variable, value) in compose.environment(name) {
                setup = setup.set_variable(&variable, &value);
            }
            setup = setup.config_file(&path);
            setup.admin_token = std::fs::read_to_string(keys.path().join("admin-token")).unwrap();
            setup
                .admin_token
                .truncate(setup.admin_token.trim_end().len());
            setup.start()
        });
        for replica in &replicas {
            eventually("the replica is ready", async || {
                replica.get_ops("/readyz").await.0 == 200
            })
            .await;
        }

        let application = loopback(free_port());
        let mut command = Command::new(sample_application_path());
        for (variable, value) in compose.environment("application") {
            let value = local_keys(&value)
                .replace("curfew:9188", &replicas[0].admin.to_string())
                .replace("0.0.0.0:3000", &application.to_string());
            command.env(variable, value);
        }
        let sample_application = Server::start(&mut command, &[], &[application]);
        Self {
            compose,
            replicas,
            application,
            _servers: [redis_server, sample_application],
            _keys: keys,
        }
    }
}

/// Returns the path of the sample application. `cargo test` builds it, but `cargo test --test stack` does not.
fn sample_application_path() -> PathBuf {
    let curfew = PathBuf::from(env!("CARGO_BIN_EXE_curfew"));
    let path = curfew.with_file_name("examples/application");
    assert!(
        path.exists(),
        "{} is missing; `cargo test --no-run` builds it",
        path.display()
    );
    path
}
