use http::Method;

use super::split_head_and_body;
use crate::check::OriginalUrl;
use crate::policy::model::{AmbiguousReading, agreed_path, first_match};
use crate::policy::{
    Conditions, Contract, HostPattern, NormalPath, PathPattern, RequestTarget, Rule, Rules, Terms,
};

/// Checks that a path has a normal form only if all parsers read it in the same way.
pub(super) fn path(data: &[u8]) {
    let normal = NormalPath::new(data).ok();
    assert_eq!(
        normal.as_ref().map(|path| path.as_str().to_owned()),
        agreed_path(data)
    );
}

/// Checks that compiled rules find the same rule as a search through all rules.
///
/// The input has lines with rules, an empty line, and lines with requests such as `GET a.example.com /b`. A rule such
/// as `*.example.com =/a,/b,~/c/*,? GET` has hosts, paths and methods, or `-` for no condition. A path begins with `=`
/// if it is exact, and with `~` if it is a glob. `?` matches ambiguous paths. Any other path is a prefix.
pub(super) fn rules(data: &[u8]) {
    let (lines, requests) = split_head_and_body(data);
    let rules: Vec<Rule> = lines
        .iter()
        .take(20)
        .filter_map(|line| parse_rule(line))
        .collect();
    let rules: Vec<Rule> = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| Rule { index, ..rule })
        .collect();
    let Ok(compiled) = Rules::new(rules.clone(), Terms::default()) else {
        return;
    };
    for line in requests.split(|byte| *byte == b'\n').take(20) {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(host), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (Ok(method), Ok(url)) = (
            Method::from_bytes(method),
            OriginalUrl::from_parts(true, host, path),
        ) else {
            continue;
        };
        let target = RequestTarget {
            host: url.host,
            path: url.path,
            method: &method,
            contract: Contract::AuthRequest,
        };
        let found = compiled.find(&target.normalize());
        let found = found.map(|found| found.rule.map(|rule| rule.index));
        assert_eq!(
            found.map_err(|_| AmbiguousReading),
            first_match(&rules, &target),
            "{target:?}"
        );
    }
}

/// Whether a glob contains only constructs that all implementations read in the same way: no classes, no
/// alternatives, no partial `**`.
fn is_simple(glob: &str) -> bool {
    !glob.contains(['[', ']', '{', '}', '!'])
        && glob
            .split('/')
            .all(|part| part == "**" || !part.contains("**"))
}

fn parse_rule(line: &[u8]) -> Option<Rule> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let mut next_list = || {
        let part = parts.next().unwrap_or("-");
        part.split(',')
            .filter(|item| *item != "-")
            .collect::<Vec<_>>()
    };
    let (hosts, paths, methods) = (next_list(), next_list(), next_list());
    let paths = paths.into_iter().map(|path| {
        let rest = path.get(1..).unwrap_or_default();
        match path.as_bytes().first() {
            Some(b'=') => PathPattern::exact(rest),
            Some(b'~') if is_simple(rest) => PathPattern::glob(rest),
            Some(b'?') => Ok(PathPattern::Ambiguous),
            _ => PathPattern::prefix(path),
        }
    });
    Some(Rule {
        index: 0,
        conditions: Conditions {
            hosts: hosts
                .into_iter()
                .map(HostPattern::parse)
                .collect::<Result<_, _>>()
                .ok()?,
            paths: paths.collect::<Result<_, _>>().ok()?,
            methods: methods
                .into_iter()
                .map(|method| Method::from_bytes(method.as_bytes()))
                .collect::<Result<_, _>>()
                .ok()?,
            contracts: Vec::new(),
        },
        terms: Terms::default(),
    })
}
