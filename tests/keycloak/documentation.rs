//! Compares the documentation with the tests and with the version of Keycloak.

use crate::support::deployment::read_deploy_file;
use crate::support::sign_in_table::{assert_documented, assert_tested_with, pinned_version};
use crate::{sign_in, tokens};

#[test]
fn the_table_lists_the_cases_that_run() {
    assert_documented("Keycloak, sign-in by Curfew", sign_in::CASES, &[]);
    assert_documented(
        "Keycloak, access tokens",
        tokens::CASES,
        &[("cookie_clearing", "clients send tokens, not cookies")],
    );
}

#[test]
fn the_pages_name_the_tested_version() {
    let version = pinned_version("scripts/keycloak.sh", "\nversion=", "\n");
    for page in ["docs/logins/keycloak.md", "docs/logins/openid-connect.md"] {
        assert_tested_with(page, "Keycloak", &version);
    }
}

/// People copy the files from the documentation page, so it must show the tested files.
#[test]
fn the_documentation_shows_the_tested_files() {
    let page = include_str!("../../docs/logins/keycloak.md");
    for file in ["sign-in.yaml", "tokens.yaml"] {
        let text = read_deploy_file(&format!("keycloak/{file}"));
        assert!(page.contains(&format!("\n{text}```\n")), "{file}");
    }
}
