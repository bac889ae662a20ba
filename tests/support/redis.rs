//! A real Redis.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{free_port, freeze, local, thaw, wait_for_listener};

/// A Redis server on a port and in a directory of its own.
pub struct RedisServer {
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
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self {
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
        let directory = self.directory.path().to_str().unwrap();
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--dir", directory, "--save", ""])
            .args(["--port", &self.port.to_string()])
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        wait_for_listener(&mut process, local(self.port));
        self.process = Some(process);
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

    /// Makes it hang: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        freeze(self.process.as_ref().unwrap());
    }

    pub fn thaw(&self) {
        thaw(self.process.as_ref().unwrap());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Runs a command on it.
    pub fn command<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        self.command_at(self.url(), words)
    }

    /// Runs a command on it, where it asks for a password.
    pub fn command_as<T: redis::FromRedisValue>(&self, password: &str, words: &[&[u8]]) -> T {
        let url = format!("redis://:{password}@127.0.0.1:{}/", self.port);
        self.command_at(url, words)
    }

    fn command_at<T: redis::FromRedisValue>(&self, url: String, words: &[&[u8]]) -> T {
        let client = redis::Client::open(url).unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
