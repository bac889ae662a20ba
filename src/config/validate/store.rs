use std::time::Duration;

use crate::config::StoreConfig;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::sections::{RawConfig, RawStore};
use crate::migrations::SCRIPTS;
use crate::secret::Secret;
use crate::store::redis::{Password, RedisSettings, Target, Tls, Topology};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Whether sessions live in this process: true unless the URL starts with a Redis scheme.
pub(super) fn is_embedded(raw: &RawStore) -> bool {
    !["redis", "valkey"]
        .iter()
        .any(|family| raw.url.0.starts_with(family))
}

pub(super) fn parse(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<StoreConfig> {
    if raw.store.url.0 == "memory:" {
        return memory(raw, mistakes);
    }
    let target = mistakes.take("store.url", Target::parse(&raw.store.url.0))?;
    redis(raw, target, mistakes)
}

fn memory(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<StoreConfig> {
    let store = &raw.store;
    for (key, given) in [
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
        ("events.stream", raw.events.stream),
    ] {
        if given {
            mistakes.note(key, "needs Redis, but store.url is `memory:`");
        }
    }
    if store.max_sessions == 0 {
        return mistakes.reject("store.max_sessions", "must be at least 1");
    }
    Ok(StoreConfig::Memory {
        max_sessions: store.max_sessions,
    })
}

fn redis(raw: &RawConfig, target: Target, mistakes: &mut Mistakes) -> Valid<StoreConfig> {
    let store = &raw.store;
    let given = (&store.password, &store.password_file);
    let password = password("store.password_file", given, mistakes);
    let given = (&store.sentinel_password, &store.sentinel_password_file);
    let sentinel_password = self::password("store.sentinel_password_file", given, mistakes);
    let is_sentinel = matches!(target.topology, Topology::Sentinel { .. });
    if !is_sentinel
        && (store.sentinel_username.is_some() || sentinel_password != Ok(Password::None))
    {
        mistakes.note(
            "store.sentinel_password",
            "needs a store.url with redis+sentinel://",
        );
    }
    let tls = tls(store, target.tls, mistakes);
    // Braces in a key select its hash slot in Redis Cluster.
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    if store.prefix.len() > 64 || !store.prefix.bytes().all(fits) {
        mistakes.note(
            "store.prefix",
            "must be at most 64 visible ASCII characters other than { and }",
        );
    }
    let mut time = |key, text: &str| mistakes.duration(key, text, MILLISECOND, MINUTE);
    let connect_timeout = time("store.connect_timeout", &store.connect_timeout);
    let command_timeout = time("store.command_timeout", &store.command_timeout);
    let wait_timeout = time("store.wait_timeout", &store.wait_timeout);
    if raw.events.stream && raw.events.stream_length == 0 {
        mistakes.note("events.stream_length", "must be at least 1");
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
        stream_length: raw.events.stream.then_some(raw.events.stream_length),
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

fn tls(raw: &RawStore, secure: bool, mistakes: &mut Mistakes) -> Valid<Option<Tls>> {
    if !secure {
        for (key, given) in [
            ("store.ca_file", &raw.ca_file),
            ("store.cert_file", &raw.cert_file),
            ("store.key_file", &raw.key_file),
        ] {
            if given.is_some() {
                mistakes.note(key, "needs rediss:// (TLS), but store.url is redis://");
            }
        }
        return Ok(None);
    }
    let ca = mistakes.read_optional("store.ca_file", raw.ca_file.as_ref())?;
    let client = match (&raw.cert_file, &raw.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = mistakes.read("store.cert_file", certificate);
            let key = mistakes.read("store.key_file", key);
            Some((certificate?, Secret::new(key?)))
        }
        (Some(_), None) => {
            return mistakes.reject("store.cert_file", "needs its key in store.key_file");
        }
        (None, Some(_)) => {
            return mistakes.reject("store.key_file", "needs its certificate in store.cert_file");
        }
        (None, None) => None,
    };
    Ok(Some(Tls { ca, client }))
}

/// A password, or a file with it. Checks that the file can be read.
fn password(
    key: &str,
    given: (&Option<Secret<String>>, &Option<String>),
    mistakes: &mut Mistakes,
) -> Valid<Password> {
    match given {
        (Some(_), Some(_)) => {
            let other = key.trim_end_matches("_file");
            mistakes.reject(key, format!("conflicts with {other}: set only one"))
        }
        (None, Some(path)) => {
            mistakes.read_text(key, path)?;
            Ok(Password::File(path.into()))
        }
        (Some(password), None) => Ok(Password::Given(password.clone())),
        (None, None) => Ok(Password::None),
    }
}
