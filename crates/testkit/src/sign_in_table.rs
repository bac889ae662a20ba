//! Compares the table in `docs/logins/README.md` with the cases that the tests run.

use crate::repository_root;

/// The proxies in the columns of the table.
const PROXIES: [&str; 4] = ["NGINX", "Traefik", "Envoy HTTP", "Envoy gRPC"];

/// The name of each case in the tests, and in the table.
const CASES: [(&str, &str); 9] = [
    ("idle", "idle"),
    ("absolute", "absolute"),
    ("refresh", "refresh"),
    ("sign_out", "sign-out"),
    ("re_authentication", "re-authentication"),
    ("cookie_clearing", "cookie clearing"),
    ("back_channel_logout", "back-channel logout"),
    ("key_rotation", "key rotation"),
    ("step_up", "step-up"),
];

/// Asserts that the rows of `peer` in the table are the cases that run with each proxy, and the cases that do not apply.
/// `run` has the names of the cases in the tests. `not_applicable` has a case and the reason in each element.
pub fn assert_documented(peer: &str, run: &[&str], not_applicable: &[(&str, &str)]) {
    let path = repository_root().join("docs/logins/README.md");
    let page = std::fs::read_to_string(path).unwrap();
    let header = format!("\n| sign-in | case | {} |\n", PROXIES.join(" | "));
    let (_, table) = page
        .split_once(&header)
        .unwrap_or_else(|| panic!("the page lacks the line{header}"));
    let prefix = format!("| {peer} | ");
    let documented: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with(&prefix))
        .collect();
    let expected: Vec<String> = CASES
        .iter()
        .map(|(case, title)| {
            let reasons: Vec<&str> = not_applicable
                .iter()
                .filter(|(name, _)| name == case)
                .map(|(_, reason)| *reason)
                .collect();
            let cell = match (run.contains(case), &*reasons) {
                (true, []) => "yes".to_owned(),
                (false, [reason]) => format!("does not apply, because {reason}"),
                _ => panic!("{peer}, {case}: the case must either run or have one reason"),
            };
            format!(
                "{prefix}{title} | {} |",
                PROXIES.map(|_| &*cell).join(" | ")
            )
        })
        .collect();
    assert_eq!(documented, expected, "the table in docs/logins/README.md");
    let is_known = |name: &&&str| CASES.iter().any(|(case, _)| case == *name);
    assert_eq!(run.iter().filter(is_known).count(), run.len(), "{run:?}");
}

/// Returns the only text between `before` and `after` in a file of the repository.
pub fn pinned_version(file: &str, before: &str, after: &str) -> String {
    let text = std::fs::read_to_string(repository_root().join(file)).unwrap();
    let parts: Vec<&str> = text.split(before).collect();
    assert_eq!(parts.len(), 2, "{before:?} must be in {file} exactly once");
    let (version, _) = parts[1].split_once(after).unwrap();
    version.to_owned()
}

/// Asserts that a page of the documentation has the line "Tested with NAME VERSION".
pub fn assert_tested_with(page: &str, name: &str, version: &str) {
    let text = std::fs::read_to_string(repository_root().join(page)).unwrap();
    let claim = format!("Tested with {name} {version}");
    assert!(text.contains(&claim), "{page} lacks {claim:?}");
}
