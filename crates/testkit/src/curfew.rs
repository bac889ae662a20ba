//! Runs the real program, and calls its admin API.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use curfew::AdminToken;
use curfew::credential::SigningKey;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Listeners, signal};

/// The maximum number of log lines that a failed test prints for each Curfew.
const MAX_PROBLEM_LINES: usize = 40;

/// The settings that Curfew starts with.
#[derive(Clone)]
pub struct Setup {
    settings: BTreeMap<String, String>,
    pub admin_token: String,
    pub key: String,
    single_core: bool,
}

impl Setup {
    /// Creates settings for a Curfew with the store `memory`.
    pub fn memory() -> Self {
        let admin = AdminToken::generate().unwrap();
        let key = SigningKey::generate().unwrap();
        let setup = Self {
            settings: BTreeMap::new(),
            admin_token: admin.token.expose().clone(),
            key: key.clone(),
            single_core: false,
        };
        setup
            .set("LISTEN__CHECK", "127.0.0.1:0")
            .set("LISTEN__GRPC", "127.0.0.1:0")
            .set("LISTEN__BROWSER", "127.0.0.1:0")
            .set("LISTEN__ADMIN", "127.0.0.1:0")
            .set("LISTEN__OPS", "127.0.0.1:0")
            .set("ADMIN__TOKEN_HASHES", &admin.hash_text())
            .set("ADMIN__ALLOW_AGEING", "true")
            .set("TOKEN__KEYS", &key)
            .set("LOG__FILTER", "debug")
            .set("LOG__FORMAT", "json")
    }

    /// Creates settings for a Curfew with the Redis at `url`. The timeouts are longer than the defaults, because a busy
    /// machine answers slowly.
    pub fn redis(url: &str) -> Self {
        Self::memory()
            .set("STORE__URL", url)
            .set("STORE__COMMAND_TIMEOUT", "2s")
            .set("STORE__CHECK_TIMEOUT", "3s")
    }

    /// Sets the timeouts of the store to their defaults.
    pub fn default_store_timeouts(self) -> Self {
        self.set("STORE__COMMAND_TIMEOUT", "100ms")
            .set("STORE__CHECK_TIMEOUT", "150ms")
    }

    /// Sets an environment variable with the prefix `CURFEW__`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings
            .insert(format!("CURFEW__{key}"), value.to_owned());
        self
    }

    /// Sets an environment variable without a prefix.
    pub fn set_variable(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes Curfew run on one CPU core.
    pub fn on_a_single_core(mut self) -> Self {
        self.single_core = true;
        self
    }

    /// Makes Curfew listen on these addresses.
    pub fn listen_on(self, listeners: Listeners) -> Self {
        self.set("LISTEN__CHECK", &listeners.check.to_string())
            .set("LISTEN__BROWSER", &listeners.browser.to_string())
    }

    /// Adds a configuration file, which is read before the environment variables.
    pub fn config_file(mut self, path: &std::path::Path) -> Self {
        let path = path.to_str().unwrap().to_owned();
        self.settings.insert("CURFEW_CONFIG".to_owned(), path);
        self
    }

    /// Removes a setting, so that its default applies.
    pub fn unset(mut self, key: &str) -> Self {
        self.settings.remove(&format!("CURFEW__{key}"));
        self
    }

    /// Sets the limits of the default policy.
    pub fn limits(self, idle: &str, absolute: &str) -> Self {
        self.set("POLICIES__DEFAULT__IDLE", idle)
            .set("POLICIES__DEFAULT__ABSOLUTE", absolute)
    }

    /// Returns the command that runs Curfew with these settings and `arguments`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.single_core {
            true => Command::new("/usr/bin/taskset"),
            false => Command::new(crate::program_path()),
        };
        if self.single_core {
            command.args(["--cpu-list", "0"]).arg(crate::program_path());
        }
        command.args(arguments).env_clear().envs(&self.settings);
        command
    }

    /// Returns a command that runs `curfew serve` with these settings on a terminal. The output of the command is what the
    /// terminal shows, and its input is the keyboard: see [`press_ctrl_c`].
    pub fn command_on_a_terminal(&self) -> Command {
        let mut command = Command::new("/usr/bin/script");
        let serve = format!("exec {} serve", crate::program_path().display());
        command
            .args(["--quiet", "--flush", "--return", "--command", &serve])
            .arg("/dev/null")
            .env_clear()
            .envs(&self.settings)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Declares with `curfew migrate --new-store` that the store is new and has lost no data. Otherwise, Curfew would
    /// accept no JSON Web Token of an earlier sign-in.
    pub fn declare_redis_new(&self) {
        let output = self.command(&["migrate", "--new-store"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }

    /// Starts Curfew and waits until it listens.
    pub fn start(&self) -> Curfew {
        // The output goes to files, so that a test can read each line as soon as Curfew has written it. If the output
        // went through a pipe, the reader of the pipe could be late.
        let banner = tempfile::NamedTempFile::new().unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command(&["serve"]);
        if let Some(filter) = self.settings.get("CURFEW__LOG__FILTER") {
            // The log has the addresses.
            command.env(
                "CURFEW__LOG__FILTER",
                format!("{filter},curfew::cli::serve=info"),
            );
        }
        let mut process = command
            .stdout(banner.reopen().unwrap())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let addresses = loop {
            let exited = process.try_wait().unwrap();
            if let Some(addresses) = Addresses::of_log(&read_text(&log)) {
                break addresses;
            }
            if let Some(addresses) = Addresses::of_banner(&read_text(&banner)) {
                break addresses;
            }
            if let Some(status) = exited {
                let (banner, log) = (read_text(&banner), read_text(&log));
                panic!("curfew exited: {status}\n{banner}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let address = |name: &str| addresses.0.get(name).copied();
        Curfew {
            check: address("check").unwrap(),
            grpc: address("grpc"),
            spoe: address("spoe"),
            browser: address("browser").unwrap(),
            admin: address("admin").unwrap(),
            ops: address("ops").unwrap(),
            process,
            log,
            admin_token: self.admin_token.clone(),
            client: client(),
        }
    }
}

/// Stops the process of [`Setup::command_on_a_terminal`], and waits until it has stopped.
pub fn press_ctrl_c(mut process: Child) {
    let mut keyboard = process.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    let status = process.wait().unwrap();
    assert!(status.success(), "{status}");
}

/// The first address of each listener.
struct Addresses(BTreeMap<String, SocketAddr>);

impl Addresses {
    /// Reads the addresses from a log in JSON. Returns `None` until the log has all of them.
    fn of_log(log: &str) -> Option<Self> {
        let mut addresses = BTreeMap::new();
        let mut has_started = false;
        for line in log.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if event["message"] == "listening" {
                let name = event["listener"].as_str().unwrap().to_owned();
                let address = event["address"].as_str().unwrap();
                addresses.entry(name).or_insert(reachable_address(address));
            }
            has_started |= event["message"] == "started";
        }
        (has_started && !addresses.is_empty()).then_some(Self(addresses))
    }

    /// Reads the addresses from the lines that Curfew prints if the log is not JSON. Returns `None` until all lines are
    /// there.
    fn of_banner(banner: &str) -> Option<Self> {
        let (lines, _) = banner.split_once("\n  ops ")?;
        let lines = &banner[..lines.len() + 1 + banner[lines.len() + 1..].find('\n')?];
        let addresses = lines.lines().filter_map(|line| {
            let (name, urls) = line.strip_prefix("  ")?.split_once(' ')?;
            let url = urls.split_whitespace().next().unwrap();
            let url = url.trim_end_matches(',');
            let (_, address) = url.split_once("://").unwrap_or(("", url));
            Some((name.to_owned(), reachable_address(address)))
        });
        Some(Self(addresses.collect()))
    }
}

/// Returns the address to connect to, if Curfew listens on this address.
fn reachable_address(address: &str) -> SocketAddr {
    let mut address: SocketAddr = address.parse().unwrap();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// Creates an HTTP client that follows no redirects and uses no proxy.
pub fn client() -> reqwest::Client {
    super::tls::install_provider();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn read_text(file: &tempfile::NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()
}

/// A running Curfew.
pub struct Curfew {
    pub check: SocketAddr,
    pub grpc: Option<SocketAddr>,
    pub spoe: Option<SocketAddr>,
    pub browser: SocketAddr,
    pub admin: SocketAddr,
    pub ops: SocketAddr,
    process: Child,
    log: tempfile::NamedTempFile,
    pub admin_token: String,
    client: reqwest::Client,
}

/// A session that was started through the admin API.
#[derive(Clone, Debug)]
pub struct CreatedSession {
    pub token: String,
    pub id: String,
    pub answer: Value,
}

impl CreatedSession {
    /// Returns the value of the `Cookie` header with which a browser sends the token.
    pub fn cookie(&self) -> String {
        format!("__Host-session={}", self.token)
    }
}

impl Curfew {
    /// Returns the addresses to which proxies send requests.
    pub const fn listeners(&self) -> Listeners {
        Listeners {
            check: self.check,
            browser: self.browser,
        }
    }

    /// Sends a request to the admin API.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.call_with_token(&self.admin_token, method, path, body)
            .await
    }

    /// Calls the admin API with another token.
    pub async fn call_with_token(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let method = method.parse().unwrap();
        let url = format!("http://{}{path}", self.admin);
        let mut request = self.client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Starts a session of `subject`, with default attributes, through the admin API.
    pub async fn sign_in(&self, subject: &str) -> CreatedSession {
        let attributes = json!({ "groups": ["staff", "admin"], "email": "alice@example.com" });
        self.sign_in_with(subject, attributes).await
    }

    /// Starts a session of `subject` with these attributes through the admin API.
    pub async fn sign_in_with(&self, subject: &str, attributes: Value) -> CreatedSession {
        self.sign_in_with_body(json!({ "subject": subject, "attributes": attributes }))
            .await
    }

    /// Starts a session through the admin API. `body` is the complete body of the request.
    pub async fn sign_in_with_body(&self, body: Value) -> CreatedSession {
        let (status, answer) = self.call("POST", "/api/v1/sessions", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        CreatedSession {
            token: answer["token"].as_str().unwrap().to_owned(),
            id: answer["session"]["id"].as_str().unwrap().to_owned(),
            answer,
        }
    }

    /// Returns the session, as the admin API shows it.
    pub async fn fetch_session(&self, session: &CreatedSession) -> Value {
        let path = format!("/api/v1/sessions/{}", session.id);
        self.call("GET", &path, None).await.1
    }

    /// Ends a session through the admin API.
    pub async fn revoke(&self, session: &CreatedSession) {
        let path = format!("/api/v1/sessions/{}", session.id);
        let (status, answer) = self.call("DELETE", &path, None).await;
        assert_eq!(
            (status, &answer["end_reason"]),
            (StatusCode::OK, &json!("revoked"))
        );
    }

    /// Subtracts the duration `by` from every time of a session, through the admin API.
    pub async fn age(&self, session: &CreatedSession, by: &str) {
        let path = format!("/api/v1/sessions/{}/age", session.id);
        let (status, answer) = self.call("POST", &path, Some(json!({ "by": by }))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// Sends a check in the way that NGINX does. Returns the status and the reason.
    pub async fn check(&self, session: &CreatedSession) -> (u16, String) {
        self.check_with_cookie(&session.cookie()).await
    }

    /// Like [`check`](Self::check), with this `Cookie` header.
    pub async fn check_with_cookie(&self, cookie: &str) -> (u16, String) {
        self.check_with_host("app.example.com", cookie).await
    }

    /// Like [`check`](Self::check), with this host and `Cookie` header.
    pub async fn check_with_host(&self, host: &str, cookie: &str) -> (u16, String) {
        let response = self
            .client
            .get(format!("http://{}/auth-request", self.check))
            .header("x-original-url", format!("https://{host}/"))
            .header("x-original-method", "GET")
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        let reason = response.headers().get("x-session-reason");
        let reason = reason.map_or("", |reason| reason.to_str().unwrap());
        (response.status().as_u16(), reason.to_owned())
    }

    /// Requests a path of the `ops` listener. Returns the status and the body.
    pub async fn get_ops(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.ops);
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        read_text(&self.log)
    }

    /// Returns the audit events of one kind.
    pub fn audit_events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| {
                line["target"] == "curfew::audit" && line["event.action"] == event
            })
            .collect()
    }

    /// Waits until the log has this many audit events of one kind, and returns them. A test has to wait, because Curfew
    /// can deny a request before it has logged the end of the session.
    pub async fn wait_for_audit_events(&self, event: &str, count: usize) -> Vec<Value> {
        super::eventually("the audit events are logged", async || {
            self.audit_events(event).len() >= count
        })
        .await;
        self.audit_events(event)
    }

    /// Returns the process ID.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// Suspends the process with SIGSTOP: its connections stay open, and it answers no request.
    pub fn freeze(&self) {
        super::freeze(&self.process);
    }

    /// Continues the process after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        super::thaw(&self.process);
    }

    /// Waits until the process exits by itself. Sends no signal.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        super::eventually("curfew exits", async || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Stops the process with SIGTERM, like Kubernetes.
    pub async fn stop(mut self) {
        self.signal("TERM");
        assert!(self.wait_for_exit().await.success(), "{}", self.log());
    }
}

impl Drop for Curfew {
    /// Stops the process. If the test has failed, prints the warnings and errors of Curfew, which can show the cause.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let is_problem = |line: &&str| line.contains("WARN") || line.contains("ERROR");
            let problems: Vec<&str> = log.lines().filter(is_problem).collect();
            let first = problems.len().saturating_sub(MAX_PROBLEM_LINES);
            for line in &problems[first..] {
                eprintln!("curfew {}: {line}", self.check);
            }
        }
    }
}
