//! The linter for NGINX. It takes into account which settings a location inherits.

use super::{Findings, LintError, duration};
use crate::yaml::MAX_NESTING_LEVELS;

/// A directive, with the directives in its block.
#[derive(Debug, Default)]
struct Directive {
    line: usize,
    words: Vec<String>,
    block: Vec<Directive>,
}

impl Directive {
    fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn argument(&self, index: usize) -> &str {
        self.words.get(index + 1).map_or("", String::as_str)
    }

    fn find(&self, name: &str) -> Option<&Self> {
        self.block.iter().find(|it| it.name() == name)
    }
}

/// Returns whether the text is an NGINX configuration.
pub(super) fn is_config(text: &str) -> bool {
    let opens_block = |line: &str| {
        let line = line.trim_start();
        let names = ["server", "location", "http", "upstream"];
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| names.contains(&word)) && line.trim_end().ends_with('{')
    };
    text.lines().any(opens_block)
}

pub(super) fn check(text: &str, findings: &mut Findings) -> Result<(), LintError> {
    let root = parse(text)?;
    let mut servers = Vec::new();
    collect_servers(&root, None, &mut servers);
    for (server, auth_request) in servers {
        check_server(server, auth_request, findings);
    }
    Ok(())
}

/// Collects the servers, each with the `auth_request` that it inherits.
fn collect_servers<'a>(
    block: &'a Directive,
    auth_request: Option<&'a str>,
    servers: &mut Vec<(&'a Directive, Option<&'a str>)>,
) {
    let auth_request = auth_request_of(block).or(auth_request);
    for directive in &block.block {
        match directive.name() {
            "server" if !directive.block.is_empty() => servers.push((directive, auth_request)),
            "http" => collect_servers(directive, auth_request, servers),
            _ => {}
        }
    }
}

/// Returns the `auth_request` URI that a block sets.
fn auth_request_of(block: &Directive) -> Option<&str> {
    block.find("auth_request").map(|it| it.argument(0))
}

/// A location, and the `auth_request` URI that applies to it.
struct LocationAuth<'a> {
    location: &'a Directive,
    auth_request: Option<&'a str>,
}

fn check_server(server: &Directive, inherited_auth_request: Option<&str>, findings: &mut Findings) {
    let auth_request = auth_request_of(server).or(inherited_auth_request);
    let mut locations_found = Vec::new();
    collect_locations(server, auth_request, &mut locations_found);
    let auth_uris: Vec<&str> = locations_found
        .iter()
        .filter_map(|it| it.auth_request)
        .filter(|it| *it != "off")
        .collect();
    let is_protected = |found: &LocationAuth<'_>| found.auth_request.is_some_and(|it| it != "off");
    let path = |location: &Directive| location.words.last().cloned().unwrap_or_default();
    let any_protected = locations_found.iter().any(is_protected);
    for found in &locations_found {
        let (location, path) = (found.location, path(found.location));
        if auth_uris.contains(&&*path) {
            check_auth_location(location, findings);
            continue;
        }
        if location.find("internal").is_some() {
            continue;
        }
        if is_protected(found) {
            check_protected_location(server, location, findings);
        } else if !path.starts_with("/.curfew/")
            && !path.starts_with('@')
            && proxies_requests(location)
        {
            let what = format!("location {path}");
            if any_protected {
                findings.report_unprotected(location.line, &what);
            } else {
                let remedy = "add `auth_request`, as deploy/nginx/curfew.conf does";
                findings.report_missing_auth(location.line, &what, remedy);
            }
        }
    }
    check_error_pages(server, &locations_found, findings);
}

fn collect_locations<'a>(
    block: &'a Directive,
    auth_request: Option<&'a str>,
    locations_found: &mut Vec<LocationAuth<'a>>,
) {
    for location in block.block.iter().filter(|it| it.name() == "location") {
        let auth_request = auth_request_of(location).or(auth_request);
        locations_found.push(LocationAuth {
            location,
            auth_request,
        });
        collect_locations(location, auth_request, locations_found);
    }
}

fn proxies_requests(location: &Directive) -> bool {
    let mut block = location.block.iter();
    // Requests to Curfew itself need no check.
    block.any(|it| it.name().ends_with("_pass") && !it.argument(0).contains("curfew"))
}

/// Lints the location that calls Curfew.
fn check_auth_location(location: &Directive, findings: &mut Findings) {
    if let Some(cache) = location.find("proxy_cache")
        && cache.argument(0) != "off"
    {
        let valid = location
            .block
            .iter()
            .filter(|it| it.name() == "proxy_cache_valid");
        let cache_duration = valid
            .filter_map(|it| duration::parse(it.words.last()?))
            .max();
        findings.check_cache_duration(cache.line, "proxy_cache", cache_duration);
    }
    let names = location
        .block
        .iter()
        .filter(|it| it.name() == "proxy_set_header");
    let names: Vec<String> = names
        .map(|it| it.argument(0).to_ascii_lowercase())
        .collect();
    for name in ["X-Original-URL", "X-Original-Method"] {
        if !names.contains(&name.to_ascii_lowercase()) {
            let message = format!(
                "the check does not set {name}, so a client could forge the original request"
            );
            let remedy = "set the header, as deploy/nginx/curfew.conf does";
            findings.add_error(location.line, "forgeable-original", message, remedy);
        }
    }
    check_router_inputs(location, findings);
}

/// Reports a check without the values that NGINX uses for routing. Also reports a check that contains headers of the
/// client that could replace these values.
fn check_router_inputs(location: &Directive, findings: &mut Findings) {
    let headers = || {
        let directives = location.block.iter();
        directives.filter(|it| it.name() == "proxy_set_header")
    };
    for header in headers() {
        let is_original_url = header.argument(0).eq_ignore_ascii_case("x-original-url");
        if is_original_url && header.words.iter().any(|word| word.contains("$http_host")) {
            let message = "the check contains the client's Host header ($http_host), but NGINX routes by $host; \
                           the two hosts differ if the request line contains a URL";
            let remedy =
                "use $scheme://$host$request_port$request_uri, as deploy/nginx/curfew.conf does";
            findings.add_error(header.line, "other-host", message.to_owned(), remedy);
        }
    }
    for name in ["X-Forwarded-Method", "X-Forwarded-Uri"] {
        if !headers().any(|it| it.argument(0).eq_ignore_ascii_case(name)) {
            let message = format!(
                "NGINX passes the {name} of a client to Curfew, so Curfew refuses the request"
            );
            let remedy = "clear the header with proxy_set_header and an empty value, as deploy/nginx/curfew.conf does";
            findings.add_notice(location.line, "foreign-input", message, remedy);
        }
    }
}

/// Lints a location that Curfew protects.
fn check_protected_location(server: &Directive, location: &Directive, findings: &mut Findings) {
    let read = location
        .find("proxy_read_timeout")
        .or(server.find("proxy_read_timeout"));
    if let Some(read) = read {
        findings.check_stream_timeout(
            read.line,
            "proxy_read_timeout",
            duration::parse(read.argument(0)),
        );
    }
    let satisfy = location.find("satisfy").or(server.find("satisfy"));
    if let Some(satisfy) = satisfy.filter(|it| it.argument(0) == "any") {
        let message =
            "with `satisfy any`, a client that meets another condition needs no session".to_owned();
        findings.add_error(satisfy.line, "fail-open", message, "use `satisfy all`");
    }
    if let Some(cache) = location
        .find("proxy_cache")
        .filter(|it| it.argument(0) != "off")
    {
        let cache_key = location
            .find("proxy_cache_key")
            .or(server.find("proxy_cache_key"));
        let has_session_key = cache_key.is_some_and(|it| it.words.concat().contains("session"));
        if !has_session_key {
            let message = "responses of the application are cached and shared between users";
            let remedy = "remove proxy_cache from protected locations, or add $session_id to proxy_cache_key";
            findings.add_notice(cache.line, "shared-cache", message.to_owned(), remedy);
        }
    }
}

/// Reports `error_page` directives that turn an error into a success, or that send the request to the application.
fn check_error_pages(
    server: &Directive,
    locations_found: &[LocationAuth<'_>],
    findings: &mut Findings,
) {
    let blocks = locations_found.iter().map(|it| it.location).chain([server]);
    let pages = blocks.flat_map(|it| it.block.iter().filter(|it| it.name() == "error_page"));
    for page in pages {
        let mut codes = page
            .words
            .iter()
            .skip(1)
            .filter(|it| it.parse::<u16>().is_ok());
        let handles_denial_or_error =
            codes.any(|code| matches!(&**code, "401" | "403" | "500" | "502" | "503" | "504"));
        if !handles_denial_or_error {
            continue;
        }
        if page.words.iter().any(|word| word.starts_with("=2")) {
            let message =
                "error_page with a status of =2xx turns a denial or an error into a success"
                    .to_owned();
            let remedy = "keep the original status";
            findings.add_error(page.line, "fail-open", message, remedy);
            continue;
        }
        let target = page.words.last().map_or("", String::as_str);
        let mut locations_found = locations_found.iter();
        let proxies_to_application = target.starts_with('@')
            && locations_found.any(|it| {
                it.location.words.last().is_some_and(|it| it == target)
                    && proxies_requests(it.location)
            });
        if proxies_to_application {
            let remedy = "return an answer in the named location, as @refused in deploy/nginx/curfew.conf does";
            findings.report_fail_open(
                page.line,
                "an error_page with a location that proxies requests",
                remedy,
            );
        }
    }
}

/// Parses directives and blocks.
fn parse(text: &str) -> Result<Directive, LintError> {
    let mut open_blocks = vec![Directive::default()];
    let mut current = Directive::default();
    let mut characters = text.chars().peekable();
    let mut line = 1;
    while let Some(it) = characters.next() {
        match it {
            '\n' => line += 1,
            ' ' | '\t' | '\r' => {}
            '#' => while characters.next_if(|it| *it != '\n').is_some() {},
            ';' => {
                let directive = std::mem::take(&mut current);
                if let Some(parent) = open_blocks
                    .last_mut()
                    .filter(|_| !directive.words.is_empty())
                {
                    parent.block.push(directive);
                }
            }
            '{' if open_blocks.len() > MAX_NESTING_LEVELS => return Err(LintError::TooDeep(line)),
            '{' => open_blocks.push(std::mem::take(&mut current)),
            '}' => {
                let directive = open_blocks.pop().ok_or(LintError::Nginx(line))?;
                open_blocks
                    .last_mut()
                    .ok_or(LintError::Nginx(line))?
                    .block
                    .push(directive);
            }
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match characters.next() {
                        None => return Err(LintError::Nginx(line)),
                        Some(it) if it == quote => break,
                        Some('\\') => word.extend(characters.next()),
                        Some(it) => {
                            line += usize::from(it == '\n');
                            word.push(it);
                        }
                    }
                }
                add_word(&mut current, word, line);
            }
            first => {
                let mut word = String::from(first);
                // The braces of `${name}` are part of a word, and do not open a block.
                let mut braces = 0_usize;
                while let Some(it) = characters.next_if(|it| {
                    !it.is_whitespace()
                        && *it != ';'
                        && (*it != '{' || word.ends_with('$'))
                        && (*it != '}' || braces > 0)
                }) {
                    braces += usize::from(it == '{');
                    braces = braces.saturating_sub(usize::from(it == '}'));
                    word.push(it);
                }
                add_word(&mut current, word, line);
            }
        }
    }
    match (open_blocks.pop(), open_blocks.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(LintError::Nginx(line)),
    }
}

fn add_word(directive: &mut Directive, word: String, line: usize) {
    if directive.words.is_empty() {
        directive.line = line;
    }
    directive.words.push(word);
}
