use std::time::Duration;

use super::Mistakes;
use crate::config::StoreConfig;
use crate::config::raw::RawStore;
use crate::secret::Secret;
use crate::store::redis::{RedisSettings, Tls};

pub(super) fn parse(raw: &RawStore, mistakes: &mut Mistakes) -> Option<StoreConfig> {
    match raw.url.0.split_once(':') {
        Some(("memory", "")) => memory(raw, mistakes),
        Some(("redis" | "rediss", _)) => redis(raw, mistakes),
        _ => {
            mistakes.note(
                "store.url",
                "must be `memory:`, `redis://host:6379/0` or `rediss://host:6379/0`",
            );
            None
        }
    }
}

fn memory(raw: &RawStore, mistakes: &mut Mistakes) -> Option<StoreConfig> {
    for (key, given) in [
        ("store.username", raw.username.is_some()),
        ("store.password", raw.password.is_some()),
        ("store.password_file", raw.password_file.is_some()),
        ("store.ca_file", raw.ca_file.is_some()),
    ] {
        if given {
            mistakes.note(key, "is for Redis, and store.url is `memory:`");
        }
    }
    if raw.max_sessions == 0 {
        mistakes.note("store.max_sessions", "must be at least 1");
        return None;
    }
    Some(StoreConfig::Memory {
        max_sessions: raw.max_sessions,
    })
}

fn redis(raw: &RawStore, mistakes: &mut Mistakes) -> Option<StoreConfig> {
    let password = password(raw, mistakes);
    let ca = match &raw.ca_file {
        Some(_) if raw.url.0.starts_with("redis:") => {
            mistakes.note(
                "store.ca_file",
                "is for rediss:// (TLS), and store.url is redis://",
            );
            None
        }
        Some(path) => mistakes.read("store.ca_file", path).map(Some),
        None => Some(None),
    };
    if raw.prefix.len() > 64 || !raw.prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        mistakes.note(
            "store.prefix",
            "must be at most 64 visible ASCII characters",
        );
    }
    let millisecond = Duration::from_millis(1);
    let minute = Duration::from_secs(60);
    let connect_timeout = mistakes.duration(
        "store.connect_timeout",
        &raw.connect_timeout,
        millisecond,
        minute,
    );
    let command_timeout = mistakes.duration(
        "store.command_timeout",
        &raw.command_timeout,
        millisecond,
        minute,
    );
    let settings = RedisSettings {
        url: Secret::new(raw.url.0.clone()),
        username: raw.username.clone(),
        password: password?,
        tls: Tls { ca: ca? },
        prefix: raw.prefix.clone(),
        connect_timeout: connect_timeout?,
        command_timeout: command_timeout?,
    };
    mistakes.take("store.url", settings.check())?;
    Some(StoreConfig::Redis(Box::new(settings)))
}

fn password(raw: &RawStore, mistakes: &mut Mistakes) -> Option<Option<Secret<String>>> {
    match (&raw.password, &raw.password_file) {
        (Some(_), Some(_)) => {
            mistakes.note(
                "store.password_file",
                "and store.password are both given: keep one",
            );
            None
        }
        (None, Some(path)) => {
            let text = mistakes.read_text("store.password_file", path)?;
            Some(Some(Secret::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            )))
        }
        (password, None) => Some(password.clone()),
    }
}
