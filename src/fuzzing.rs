//! Fuzz targets. Each target passes arbitrary bytes to a parser or to the service, and checks an invariant that must
//! hold for all inputs.
//!
//! A target takes bytes, and panics on a failure. `cargo test` runs each target with random changes of its seeds in
//! `fuzz/seeds/`. `scripts/fuzz.sh` runs the same functions for longer with libFuzzer, guided by coverage. The
//! library contains the targets only with the feature `fuzzing`.

mod credentials;
mod documents;
mod requests;
mod rules;
mod service;

use crate::relay::fuzzing as relay;
use crate::store::redis::fuzzing as redis;

/// A target: its name, which is also the folder of its seeds, and its function.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target, in `fuzz/fuzz_targets/` and `fuzz/seeds/`.
    pub name: &'static str,
    /// Runs the target once. Panics if the invariant does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 19] = [
    target("admin", service::admin),
    target("check_request", service::check_request),
    target("claims", credentials::claims),
    target("configuration", documents::configuration),
    target("cookies", credentials::cookies),
    target("delegated_answer", credentials::delegated_answer),
    target("frames", relay::frames),
    target("http", service::http),
    target("jwks", credentials::jwks),
    target("jwt", credentials::jwt),
    target("lint", documents::lint),
    target("message", redis::message),
    target("original_url", requests::original_url),
    target("path", rules::path),
    target("record", redis::record),
    target("redis_reply", redis::reply),
    target("rules", rules::rules),
    target("spop", service::spop),
    target("token", credentials::token),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Runs the target with this name; does nothing for an unknown name.
pub fn run(name: &str, data: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(data);
    }
}

/// Splits an input at the first empty line. Returns the lines before it and the bytes after it.
fn split_head_and_body(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (head, body) = match memchr::memmem::find(data, b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    (head.split(|byte| *byte == b'\n').collect(), body)
}

/// Parses lines such as `name: value` as headers; skips invalid lines.
fn parse_headers<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = http::HeaderName::from_bytes(&line[..colon]);
        let value = line[colon + 1..].strip_prefix(b" ");
        let value = http::HeaderValue::from_bytes(value.unwrap_or(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests;
