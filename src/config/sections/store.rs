use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawEvents;
use crate::config::StoreConfig;
use crate::config::mistakes::{DAY, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::RawUrl;
use crate::migrations::SCRIPTS;
use crate::secret::Secret;
use crate::store::redis::{Password, RedisSettings, RedisTarget, Tls, Topology};

/// The session store.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStore {
    /// `memory:`, `redis://…`, `redis+sentinel://…`, `redis+cluster://…`; `rediss…` for TLS.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// The ACL user; overrides the user in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; overrides the password in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret<String>>,
    /// A file with the password; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The ACL user of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sentinel_password: Option<Secret<String>>,
    /// A file with the password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<String>,
    /// A file with PEM certificates of the CAs to trust over `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// A file with the PEM client certificate for `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with the PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The prefix of every Redis key.
    pub prefix: String,
    /// The timeout for opening a connection.
    #[schemars(with = "schema_types::Duration")]
    pub connect_timeout: String,
    /// The timeout for one operation.
    #[schemars(with = "schema_types::Duration")]
    pub command_timeout: String,
    /// The total time that one check may spend on store operations.
    #[schemars(with = "schema_types::Duration")]
    pub check_timeout: String,
    /// The number of Redis replicas that must acknowledge a sign-in or a revocation (`WAIT`).
    pub wait_replicas: u16,
    /// The timeout for the acknowledgements of the Redis replicas.
    #[schemars(with = "schema_types::Duration")]
    pub wait_timeout: String,
    /// How long each process keeps the session ends that it wrote, to repeat them after a
    /// fail-over.
    #[schemars(with = "schema_types::Duration")]
    pub journal_retention: String,
    /// Whether `curfew serve` upgrades records of older versions.
    pub migrate: bool,
    /// With Redis: reject unencrypted records from the start, even while an upgrade is marked as unfinished in Redis.
    pub sealed_only: bool,
    /// The maximum number of sessions with `memory:`.
    pub max_sessions: usize,
    /// The approximate size of the near cache with Redis, in sessions; 0 to disable it.
    pub near_cache_sessions: usize,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            url: RawUrl("memory:".to_owned()),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "curfew:".to_owned(),
            connect_timeout: "1s".to_owned(),
            command_timeout: "100ms".to_owned(),
            check_timeout: "150ms".to_owned(),
            wait_replicas: 0,
            wait_timeout: "100ms".to_owned(),
            journal_retention: "5m".to_owned(),
            migrate: true,
            sealed_only: false,
            max_sessions: 100_000,
            near_cache_sessions: 100_000,
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

impl RawStore {
    /// Whether the sessions are in the memory of this process; true unless the URL starts with a Redis scheme.
    pub(in crate::config) fn is_embedded(&self) -> bool {
        !["redis", "valkey"]
            .iter()
            .any(|family| self.url.0.starts_with(family))
    }

    /// Parses the settings of the store. Also checks `events`, because only Redis supports event streams.
    pub(in crate::config) fn parse(
        &self,
        events: &RawEvents,
        mistakes: &mut Mistakes,
    ) -> Valid<StoreConfig> {
        if self.url.0 == "memory:" {
            return parse_memory(self, events, mistakes);
        }
        let target = mistakes.record_error("store.url", RedisTarget::parse(&self.url.0))?;
        parse_redis(self, events, target, mistakes)
    }

    /// Parses the total time that one check may spend on store operations.
    pub(in crate::config) fn parse_check_timeout(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Duration> {
        mistakes.parse_duration(
            "store.check_timeout",
            &self.check_timeout,
            MILLISECOND,
            MINUTE,
        )
    }

    /// Parses how long the process keeps the session ends that it wrote.
    pub(in crate::config) fn parse_journal_retention(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Duration> {
        mistakes.parse_duration(
            "store.journal_retention",
            &self.journal_retention,
            Duration::from_secs(1),
            DAY,
        )
    }
}

impl Section for RawStore {
    const SECRETS: &'static [&'static str] = &["password", "sentinel_password"];
    const URLS: &'static [&'static str] = &["url"];

    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        let unchanged = Self {
            // A reload applies this key, so a change of it needs no restart.
            check_timeout: self.check_timeout.clone(),
            ..before.clone()
        };
        (*self != unchanged)
            .then_some("store")
            .into_iter()
            .collect()
    }
}

fn parse_memory(
    store: &RawStore,
    events: &RawEvents,
    mistakes: &mut Mistakes,
) -> Valid<StoreConfig> {
    for (key, is_set) in [
        ("store.username", store.username.is_some()),
        ("store.password", store.password.is_some()),
        ("store.password_file", store.password_file.is_some()),
        ("store.sentinel_username", store.sentinel_username.is_some()),
        ("store.sentinel_password", store.sentinel_password.is_some()),
        (
            "store.sentinel_password_file",
            store.sentinel_password_file.is_some(),
        ),
        ("store.ca_file", store.ca_file.is_some()),
        ("store.cert_file", store.cert_file.is_some()),
        ("store.key_file", store.key_file.is_some()),
        ("store.wait_replicas", store.wait_replicas > 0),
        ("events.stream", events.stream),
    ] {
        if is_set {
            mistakes.add(key, "needs Redis, but store.url is `memory:`");
        }
    }
    if store.max_sessions == 0 {
        return mistakes.reject("store.max_sessions", "must be at least 1");
    }
    Ok(StoreConfig::Memory {
        max_sessions: store.max_sessions,
    })
}

fn parse_redis(
    store: &RawStore,
    events: &RawEvents,
    target: RedisTarget,
    mistakes: &mut Mistakes,
) -> Valid<StoreConfig> {
    let settings = (&store.password, &store.password_file);
    let password = parse_password("store.password_file", settings, mistakes);
    let settings = (&store.sentinel_password, &store.sentinel_password_file);
    let sentinel_password = parse_password("store.sentinel_password_file", settings, mistakes);
    let is_sentinel = matches!(target.topology, Topology::Sentinel { .. });
    if !is_sentinel
        && (store.sentinel_username.is_some() || sentinel_password != Ok(Password::None))
    {
        mistakes.add(
            "store.sentinel_password",
            "needs a store.url with redis+sentinel://",
        );
    }
    let tls = parse_tls(store, target.tls, mistakes);
    // Braces in a key select its hash slot in Redis Cluster.
    let is_valid = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    if store.prefix.len() > 64 || !store.prefix.bytes().all(is_valid) {
        mistakes.add(
            "store.prefix",
            "must be at most 64 visible ASCII characters other than { and }",
        );
    }
    let mut parse_timeout =
        |key, text: &str| mistakes.parse_duration(key, text, MILLISECOND, MINUTE);
    let connect_timeout = parse_timeout("store.connect_timeout", &store.connect_timeout);
    let command_timeout = parse_timeout("store.command_timeout", &store.command_timeout);
    let wait_timeout = parse_timeout("store.wait_timeout", &store.wait_timeout);
    if events.stream && events.stream_length == 0 {
        mistakes.add("events.stream_length", "must be at least 1");
    }
    let from_url = RedisSettings::new(target, SCRIPTS);
    let settings = Box::new(RedisSettings {
        scripts: SCRIPTS,
        username: store.username.clone().or(from_url.username),
        password: match password? {
            Password::None => from_url.password,
            password => password,
        },
        sentinel_username: store.sentinel_username.clone(),
        sentinel_password: sentinel_password?,
        tls: tls?,
        prefix: store.prefix.clone(),
        connect_timeout: connect_timeout?,
        command_timeout: command_timeout?,
        wait_replicas: store.wait_replicas,
        wait_timeout: wait_timeout?,
        stream_length: events.stream.then_some(events.stream_length),
        migrate: store.migrate,
        sealed_only: store.sealed_only,
        max_cut_offs: from_url.max_cut_offs,
        topology: from_url.topology,
        database: from_url.database,
    });
    Ok(StoreConfig::Redis {
        settings,
        near_cache_sessions: store.near_cache_sessions,
    })
}

fn parse_tls(raw: &RawStore, is_enabled: bool, mistakes: &mut Mistakes) -> Valid<Option<Tls>> {
    if !is_enabled {
        for (key, path) in [
            ("store.ca_file", &raw.ca_file),
            ("store.cert_file", &raw.cert_file),
            ("store.key_file", &raw.key_file),
        ] {
            if path.is_some() {
                mistakes.add(key, "needs rediss:// (TLS), but store.url is redis://");
            }
        }
        return Ok(None);
    }
    let ca = mistakes.read_optional_file("store.ca_file", raw.ca_file.as_deref())?;
    let client = match (&raw.cert_file, &raw.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = mistakes.read_file("store.cert_file", certificate);
            let key = mistakes.read_file("store.key_file", key);
            Some((certificate?, Secret::new(key?)))
        }
        (Some(_), None) => {
            return mistakes.reject(
                "store.cert_file",
                "needs the key of this certificate in store.key_file",
            );
        }
        (None, Some(_)) => {
            return mistakes.reject(
                "store.key_file",
                "needs the certificate of this key in store.cert_file",
            );
        }
        (None, None) => None,
    };
    Ok(Some(Tls { ca, client }))
}

/// Parses a password, or the path of a file with the password. Checks that the file can be read.
fn parse_password(
    key: &str,
    settings: (&Option<Secret<String>>, &Option<String>),
    mistakes: &mut Mistakes,
) -> Valid<Password> {
    match settings {
        (Some(_), Some(_)) => {
            let other = key.trim_end_matches("_file");
            mistakes.reject(key, format!("conflicts with {other}: set only one"))
        }
        (None, Some(path)) => {
            mistakes.read_text_file(key, path)?;
            Ok(Password::File(path.into()))
        }
        (Some(password), None) => Ok(Password::Inline(password.clone())),
        (None, None) => Ok(Password::None),
    }
}
