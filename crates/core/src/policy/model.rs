//! An independent, simple implementation of paths and rules. Tests compare the real implementation with this one.

use super::host::HostPattern;
use super::path::is_lookalike;
use super::request_index::RequestTarget;
use super::rule::{PathPattern, Rule};

/// The decoded path that all servers read; `None` if two servers read different paths.
///
/// The model covers servers that decode once, twice or by segment. It covers NGINX (merges slashes, resolves dots),
/// Tomcat (cuts parameters off) and IIS (reads a backslash as a slash). It also covers servers that ignore everything
/// after a `#` or a `?`.
pub fn agreed_path(path: &[u8]) -> Option<String> {
    let decode_strictly = |text: &[u8]| percent_decode(text, false);
    let decoded_once = decode_strictly(path)?;
    let segments = path.split(|byte| *byte == b'/').map(decode_strictly);
    let segments: Vec<Vec<u8>> = segments.collect::<Option<_>>()?;
    let text = String::from_utf8(decoded_once.clone()).ok()?;
    let text_before = |text: &str, at: char| text.split(at).next().unwrap_or_default().to_owned();
    let without_parameters: Vec<String> =
        text.split('/').map(|part| text_before(part, ';')).collect();
    let readings = [
        resolve_dot_segments(&text),
        without_parameters.join("/"),
        text.replace('\\', "/"),
        text_before(&text, '#'),
        text_before(&text, '?'),
        String::from_utf8_lossy(&percent_decode(&decoded_once, true)?).into_owned(),
    ];
    let all_agree = readings.iter().all(|reading| *reading == text)
        && segments == decoded_once.split(|byte| *byte == b'/').collect::<Vec<_>>();
    let is_special = |character: char| character.is_control() || is_lookalike(character);
    (text.starts_with('/') && all_agree && !text.chars().any(is_special)).then_some(text)
}

/// Percent-decodes text as a server does. A lenient server keeps a malformed escape; a strict server rejects the text,
/// and the result is `None`.
fn percent_decode(text: &[u8], lenient: bool) -> Option<Vec<u8>> {
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut lookahead = bytes.clone();
        let digits = (lookahead.next(), lookahead.next());
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (digit(digits.0), digit(digits.1)) {
            (Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).ok()?);
                bytes = lookahead;
            }
            _ if lenient => decoded.push(byte),
            _ => return None,
        }
    }
    Some(decoded)
}

/// Returns the path with merged slashes and resolved dot segments.
fn resolve_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut resolved: String = segments
        .iter()
        .map(|segment| format!("/{segment}"))
        .collect();
    if ends_in_slash {
        resolved.push('/');
    }
    resolved
}

/// The error for a path that servers read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousReading;

/// Finds the index of the first matching rule. The function tests one rule after the other.
///
/// # Errors
/// [`AmbiguousReading`] if the result depends on a path that servers read in different ways.
pub fn first_match(
    rules: &[Rule],
    target: &RequestTarget<'_>,
) -> Result<Option<usize>, AmbiguousReading> {
    let path = agreed_path(target.path);
    let host = normalize_host(target.host);
    for rule in rules {
        let conditions = &rule.conditions;
        let meets_other_conditions = (conditions.hosts.is_empty()
            || conditions.hosts.iter().any(|it| host_matches(it, &host)))
            && (conditions.methods.is_empty() || conditions.methods.contains(target.method))
            && (conditions.contracts.is_empty() || conditions.contracts.contains(&target.contract));
        if !meets_other_conditions {
            continue;
        }
        let any_path = conditions.paths.is_empty();
        let is_ambiguous = |pattern| matches!(pattern, &PathPattern::Ambiguous);
        let Some(path) = &path else {
            let matches_any_reading = any_path || conditions.paths.iter().any(is_ambiguous);
            return if matches_any_reading {
                Ok(Some(rule.index))
            } else {
                Err(AmbiguousReading)
            };
        };
        if any_path || conditions.paths.iter().any(|it| path_matches(it, path)) {
            return Ok(Some(rule.index));
        }
    }
    Ok(None)
}

/// Returns a host in lower case, without its port and without a trailing dot.
fn normalize_host(text: &str) -> String {
    let name = match text.split_once(']') {
        Some((address, _)) => format!("{address}]"),
        None => text.split(':').next().unwrap_or_default().to_owned(),
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    name.to_lowercase()
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Subdomains(domain) => host.ends_with(&**domain),
    }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => exact == path,
        PathPattern::Prefix(prefix) => {
            let wanted: Vec<&str> = prefix.split('/').collect();
            let found: Vec<&str> = path.split('/').collect();
            match prefix.as_str() {
                "" | "/" => true,
                _ => found.starts_with(&wanted),
            }
        }
        PathPattern::Glob(glob) => {
            let pattern: Vec<char> = glob.glob().chars().collect();
            let path: Vec<char> = path.chars().collect();
            expand_alternatives(&pattern)
                .iter()
                .any(|glob| glob_matches(glob, &path))
        }
        PathPattern::Ambiguous => false,
    }
}

/// Expands the alternatives of a glob, such as `{a,b}`. Returns one glob for each combination.
fn expand_alternatives(glob: &[char]) -> Vec<Vec<char>> {
    let Some(open) = glob.iter().position(|it| *it == '{') else {
        return vec![glob.to_vec()];
    };
    let Some(length) = glob[open..].iter().position(|it| *it == '}') else {
        return Vec::new();
    };
    let close = open + length;
    let mut all = Vec::new();
    for alternative in glob[open + 1..close].split(|it| *it == ',') {
        let whole = [&glob[..open], alternative, &glob[close + 1..]].concat();
        all.extend(expand_alternatives(&whole));
    }
    all
}

/// Whether a glob without `{…}` matches a path.
fn glob_matches(glob: &[char], path: &[char]) -> bool {
    match glob {
        [] => path.is_empty(),
        // `/**` matches any number of whole segments, including none.
        ['/', '*', '*'] => path.starts_with(&['/']),
        ['/', '*', '*', rest @ ..] if rest.starts_with(&['/']) => {
            let below = (0..path.len()).filter(|at| path[*at] == '/');
            path.starts_with(&['/']) && below.clone().any(|at| glob_matches(rest, &path[at..]))
        }
        ['*', rest @ ..] => {
            let segment = path.iter().position(|it| *it == '/').unwrap_or(path.len());
            (0..=segment).any(|end| glob_matches(rest, &path[end..]))
        }
        ['?', rest @ ..] => path
            .split_first()
            .is_some_and(|(it, path)| *it != '/' && glob_matches(rest, path)),
        ['[', inside @ ..] => {
            let Some(end) = inside.iter().position(|it| *it == ']') else {
                return false;
            };
            path.split_first().is_some_and(|(it, path)| {
                inside[..end].contains(it) && glob_matches(&inside[end + 1..], path)
            })
        }
        [plain, rest @ ..] => path
            .split_first()
            .is_some_and(|(it, path)| it == plain && glob_matches(rest, path)),
    }
}

#[cfg(test)]
mod tests;
