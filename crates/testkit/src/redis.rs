//! Runs a real Redis or Valkey.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use redis::IntoConnectionInfo;
use tempfile::TempDir;

use super::{free_port, freeze, loopback, signal, thaw, wait_for_listener};

/// The connection timeout and read timeout of commands that the tests send.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// A Redis or Valkey server with its own port and directory.
pub struct RedisServer {
    program: PathBuf,
    process: Option<Child>,
    pub port: u16,
    directory: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with_options(&[])
    }

    /// Starts a Redis server with these additional options of `redis-server`.
    pub fn start_with_options(options: &[&str]) -> Self {
        Self::start_program(Path::new("redis-server"), options)
    }

    /// Starts another program that accepts the options of `redis-server`, such as Valkey.
    pub fn start_program(program: &Path, options: &[&str]) -> Self {
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

    /// Starts the server again after a stop. The server loads its saved data.
    pub fn start_again(&mut self) {
        assert!(
            self.process.is_none(),
            "the server should not run before this start"
        );
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut process = Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--dir", &self.path(""), "--save", ""])
            .args(["--port", &self.port.to_string()])
            // Replication starts at once, not after five seconds.
            .args(["--repl-diskless-sync-delay", "0"])
            .args(&self.options)
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        wait_for_listener(&mut process, loopback(self.port), String::new);
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

    /// Stops the server, and keeps its files.
    pub fn stop(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        // The query returns an error, because the server closes the connection and sends no answer.
        let _ = redis::cmd("SHUTDOWN")
            .arg("SAVE")
            .query::<()>(&mut connection);
        self.process.take().unwrap().wait().unwrap();
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        signal(&process, "KILL");
        process.wait().unwrap();
    }

    /// Suspends the process with SIGSTOP: its connections stay open, and it answers no command.
    pub fn freeze(&self) {
        freeze(self.process.as_ref().unwrap());
    }

    pub fn thaw(&self) {
        thaw(self.process.as_ref().unwrap());
    }

    /// Returns the port for clients: the TLS port, if there is one.
    pub fn public_port(&self) -> u16 {
        let index = self
            .options
            .iter()
            .position(|option| option == "--tls-port");
        index.map_or(self.port, |index| self.options[index + 1].parse().unwrap())
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Runs a command.
    pub fn command<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        command(&self.url(), words).unwrap()
    }

    /// Runs a command on a server with a password.
    pub fn command_with_password<T: redis::FromRedisValue>(
        &self,
        password: &str,
        words: &[&[u8]],
    ) -> T {
        let url = format!("redis://:{password}@127.0.0.1:{}/", self.port);
        command(&url, words).unwrap()
    }
}

/// Runs a command on the server at `url`. Returns an error if the server hangs.
pub fn command<T: redis::FromRedisValue>(url: &str, words: &[&[u8]]) -> redis::RedisResult<T> {
    // If the server hangs, a command that the client sends before the read timeout is set waits forever. So the
    // client does not send CLIENT SETINFO when it connects. It still sends AUTH if there is a password.
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let client = redis::Client::open(info.set_redis_settings(settings))?;
    let mut connection = client.get_connection_with_timeout(COMMAND_TIMEOUT)?;
    connection.set_read_timeout(Some(COMMAND_TIMEOUT))?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query(&mut connection)
}

/// Returns one field of the answer to `INFO`, or an empty string if the field is missing or the server does not
/// answer.
pub fn info_field(server: &RedisServer, name: &str) -> String {
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
