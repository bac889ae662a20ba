//! A real Redis, or Valkey.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use redis::IntoConnectionInfo;
use tempfile::TempDir;

use super::{free_port, freeze, local, signal, thaw, wait_for_listener};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server on a port and in a directory of its own.
pub struct RedisServer {
    program: PathBuf,
    process: Option<Child>,
    pub port: u16,
    directory: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more options, as on the command line of `redis-server`.
    pub fn with(options: &[&str]) -> Self {
        Self::of(Path::new("redis-server"), options)
    }

    /// Another program that takes the same options.
    pub fn of(program: &Path, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self {
            program: program.to_owned(),
            process: None,
            port: free_port(),
            directory: tempfile::tempdir().unwrap(),
            options,
        };
        server.start_again();
        server
    }

    /// Starts it with the data it was stopped with.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut process = Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--dir", &self.path(""), "--save", ""])
            .args(["--port", &self.port.to_string()])
            // A replica is given the data at once, not after five seconds.
            .args(["--repl-diskless-sync-delay", "0"])
            .args(&self.options)
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        wait_for_listener(&mut process, local(self.port), String::new);
        self.process = Some(process);
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Stops it; its data is kept.
    pub fn stop(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        // It answers by closing the connection.
        let _ = redis::cmd("SHUTDOWN")
            .arg("SAVE")
            .query::<()>(&mut connection);
        self.process.take().unwrap().wait().unwrap();
    }

    /// Ends it where it stands.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        signal(&process, "KILL");
        process.wait().unwrap();
    }

    /// Makes it hang: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        freeze(self.process.as_ref().unwrap());
    }

    pub fn thaw(&self) {
        thaw(self.process.as_ref().unwrap());
    }

    /// Where others find it: the port for TLS, if it has one.
    pub fn public_port(&self) -> u16 {
        let place = self
            .options
            .iter()
            .position(|option| option == "--tls-port");
        place.map_or(self.port, |place| self.options[place + 1].parse().unwrap())
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Runs a command on it.
    pub fn command<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        command(&self.url(), words).unwrap()
    }

    /// Runs a command on it, where it asks for a password.
    pub fn command_as<T: redis::FromRedisValue>(&self, password: &str, words: &[&[u8]]) -> T {
        let url = format!("redis://:{password}@127.0.0.1:{}/", self.port);
        command(&url, words).unwrap()
    }
}

/// Runs a command on the server at `url`; an error where it hangs.
pub fn command<T: redis::FromRedisValue>(url: &str, words: &[&[u8]]) -> redis::RedisResult<T> {
    // Nothing is said before the time-out counts, unless there is a password.
    let info = url.into_connection_info()?;
    let quiet = info.redis_settings().clone().set_skip_set_lib_name();
    let client = redis::Client::open(info.set_redis_settings(quiet))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query(&mut connection)
}

/// One fact out of what `INFO` answers; empty where there is none, or no server.
pub fn fact(server: &RedisServer, name: &str) -> String {
    let info: redis::RedisResult<String> = command(&server.url(), &[b"INFO"]);
    let info = info.unwrap_or_default();
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
