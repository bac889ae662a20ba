use std::collections::BTreeMap;
use std::path::Path;

use crate::compliance::*;
use crate::config::{ConfigSource, Environment};
use crate::policy::Policy;
use crate::policy::Preset;
use crate::policy::standards::{self, ComplianceStatus};
use crate::session::Limits;
use std::time::Duration;

/// Checks that docs/compliance-example.md is the report for the example configuration.
#[test]
fn the_documented_report_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/curfew/curfew.yaml");
    let source = ConfigSource {
        file: Some(file),
        environment: Environment::new(),
    };
    let settings = source.load_session_settings().unwrap();
    let (rulebook, sources) = (settings.rulebook, settings.sign_ins);
    let report = build_report(&rulebook, Reauthentication::Sources(&sources), &[]).to_markdown();
    let documented = include_str!("../../../docs/compliance-example.md");
    assert!(
        documented == report,
        "cargo run -- compliance --config deploy/curfew/curfew.yaml > docs/compliance-example.md"
    );
}

fn status(requirement: &str, idle: Option<u64>, absolute: u64) -> ComplianceStatus {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let policy = Policy::of(Limits {
        idle: idle.map(minutes),
        absolute: minutes(absolute),
        max_auth_age: None,
    });
    standards::from_name(requirement).unwrap().status(&policy)
}

#[test]
fn each_standard_is_exact_at_its_limits() {
    use ComplianceStatus::{ExceedsRecommendation, Met, NotMet};
    const HOURS: u64 = 60;
    const DAYS: u64 = 24 * HOURS;
    for (requirement, idle, absolute, expected) in [
        ("nist-rev4-aal1", None, 30 * DAYS, Met),
        ("nist-rev4-aal1", None, 30 * DAYS + 1, ExceedsRecommendation),
        ("nist-rev4-aal2", Some(60), 24 * HOURS, Met),
        (
            "nist-rev4-aal2",
            Some(61),
            24 * HOURS,
            ExceedsRecommendation,
        ),
        (
            "nist-rev4-aal2",
            Some(60),
            24 * HOURS + 1,
            ExceedsRecommendation,
        ),
        ("nist-rev4-aal3", Some(15), 12 * HOURS, Met),
        (
            "nist-rev4-aal3",
            Some(16),
            12 * HOURS,
            ExceedsRecommendation,
        ),
        ("nist-rev4-aal3", Some(15), 12 * HOURS + 1, NotMet),
        ("nist-rev3-aal2", Some(30), 12 * HOURS, Met),
        ("nist-rev3-aal2", Some(31), 12 * HOURS, NotMet),
        ("nist-rev3-aal3", Some(15), 12 * HOURS, Met),
        ("nist-rev3-aal3", Some(16), 12 * HOURS, NotMet),
        ("asvs4-l1", None, 30 * DAYS, Met),
        ("asvs4-l2", Some(30), 12 * HOURS, Met),
        ("asvs4-l2", Some(31), 12 * HOURS, NotMet),
        ("asvs4-l3", Some(15), 12 * HOURS, Met),
        ("asvs4-l3", Some(16), 12 * HOURS, NotMet),
        ("asvs5", Some(500), 50 * DAYS, Met),
        ("asvs5", None, 50 * DAYS, NotMet),
        ("pci-dss", Some(15), 90 * DAYS, Met),
        ("pci-dss", Some(16), 12 * HOURS, NotMet),
        ("pci-dss", None, 12 * HOURS, NotMet),
        // Without an idle limit, the absolute limit also ends unused sessions.
        ("pci-dss", None, 15, Met),
        ("hipaa", Some(60), 90 * DAYS, Met),
        ("hipaa", None, 12 * HOURS, NotMet),
    ] {
        let found = status(requirement, idle, absolute);
        assert_eq!(found, expected, "{requirement} {idle:?} {absolute}");
    }
}

#[test]
fn the_limits_of_remembered_sessions_determine_the_status() {
    let limits = Limits {
        idle: Some(Duration::from_secs(900)),
        absolute: Duration::from_secs(43_200),
        max_auth_age: None,
    };
    let mut policy = Policy::of(limits);
    let pci = standards::from_name("pci-dss").unwrap();
    assert_eq!(pci.status(&policy), ComplianceStatus::Met);
    policy.remember = Some(Limits {
        idle: Some(Duration::from_secs(86_400)),
        ..limits
    });
    assert_eq!(pci.status(&policy), ComplianceStatus::NotMet);
}

/// Checks that a policy with the limits of a preset meets the standard with the same name.
#[test]
fn a_preset_meets_its_standard() {
    for (preset, requirement) in BTreeMap::from([
        ("nist-aal1", "nist-rev4-aal1"),
        ("nist-aal2", "nist-rev4-aal2"),
        ("nist-aal2-rev3", "nist-rev3-aal2"),
        ("nist-aal3", "nist-rev4-aal3"),
        ("asvs4-l2", "asvs4-l2"),
        ("asvs4-l3", "asvs4-l3"),
        ("pci-dss", "pci-dss"),
        ("fedramp-moderate", "fedramp"),
        ("fedramp-high", "fedramp"),
        ("owasp-high", "owasp-high"),
        ("owasp-low", "owasp-low"),
        ("hipaa", "hipaa"),
    ]) {
        let preset = Preset::from_name(preset).unwrap();
        let policy = Policy::of(Limits {
            idle: preset.idle,
            absolute: preset.absolute,
            max_auth_age: None,
        });
        let requirement = standards::from_name(requirement).unwrap();
        assert_eq!(
            requirement.status(&policy),
            ComplianceStatus::Met,
            "{}",
            preset.name
        );
    }
    assert_eq!(
        Preset::ALL.len(),
        12,
        "the list above should contain every preset"
    );
}

/// Returns the report for a policy that meets the limits of PCI DSS, with this sign-in configuration.
fn report_for(sign_in: &str) -> ComplianceReport {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("curfew.yaml");
    let text = format!("policies: {{default: {{idle: 15m, absolute: 12h}}}}\n{sign_in}\n");
    std::fs::write(&file, text).unwrap();
    let source = ConfigSource {
        file: Some(file),
        environment: Environment::new(),
    };
    let settings = source.load_session_settings().unwrap();
    let (rulebook, sources) = (settings.rulebook, settings.sign_ins);
    build_report(&rulebook, Reauthentication::Sources(&sources), &[])
}

#[test]
fn a_standard_that_requires_a_new_authentication_is_not_met_without_one() {
    let service = |more: &str| {
        format!(
            "delegated: {{services: {{proxy: {{preset: oauth2-proxy, url: 'http://p/'{more}}}}}}}"
        )
    };
    let login = |max_age: &str| {
        format!(
            "login: {{url: 'https://a.example.com', max_age: {max_age}, \
             providers: {{id: {{issuer: 'https://id.example.com', client_id: a, client_secret_file: /nowhere}}}}}}"
        )
    };
    let jwt = |more: &str| {
        format!("jwt: {{issuers: {{id: {{issuer: 'https://id.example.com', audience: a{more}}}}}}}")
    };
    let both = format!("{}\n{}", login("idle"), service(""));
    for (sign_in, met, fact) in [
        ("", false, "Applications start the sessions"),
        (
            &*service(""),
            false,
            "missing: `token_header` or `auth_time_header`",
        ),
        (
            &*service(", token_header: authorization, max_age: off"),
            false,
            "of any age",
        ),
        (
            &*service(", token_header: authorization, max_age: 16m"),
            false,
            "older than a timeout",
        ),
        (
            &*service(", token_header: authorization, max_age: 15m"),
            true,
            "must ask for a new one",
        ),
        (
            &*service(", auth_time_header: x-time"),
            true,
            "must ask for a new one",
        ),
        (&*login("idle"), true, "Curfew asks the identity provider"),
        (&*login("15m"), true, "Curfew asks the identity provider"),
        (&*login("8h"), false, "older than a timeout"),
        (&*login("off"), false, "of any age"),
        (&*jwt(""), true, "`auth_time` is a part of the session ID"),
        (
            &*jwt(", accept_iat: never refreshed"),
            false,
            "missing: `auth_time`",
        ),
        // With several sources, the weakest source decides the result.
        (&*both, false, "`delegated.services.proxy` does not say"),
    ] {
        let report = report_for(sign_in);
        for (requirement, needs_reauthentication) in [
            ("pci-dss", true),
            ("nist-rev3-aal2", true),
            ("hipaa", false),
        ] {
            let requirement = standards::from_name(requirement).unwrap();
            let fails = report.failing_policies(requirement).concat() == ["default"];
            assert_eq!(
                fails,
                needs_reauthentication && !met,
                "{sign_in}: {}",
                requirement.name
            );
        }
        let text = report.to_markdown();
        assert!(text.contains(fact), "{sign_in}: {text}");
        let (text, _) = text.split_once("## Streams").unwrap();
        assert_eq!(text.contains("| not verified |"), !met, "{sign_in}: {text}");
        assert_eq!(text.contains("| ensured |"), met, "{sign_in}: {text}");
    }
}

/// Checks the status of a policy with two problems: if the limits do not meet the requirement, it is `not_met`, even if
/// the authentication is also not verified.
#[test]
fn not_met_outranks_not_verified() {
    let strict = report_for("");
    let status = |name: &str| {
        let mut findings = strict.policies[0].findings.iter();
        findings
            .find(|finding| finding.requirement == name)
            .unwrap()
            .status
    };
    assert_eq!(status("pci-dss"), "not_verified");
    assert_eq!(status("owasp-high"), "exceeds_recommendation");
    assert_eq!(status("hipaa"), "met");
    let rulebook = ConfigSource {
        file: None,
        environment: Environment::from([("CURFEW__POLICIES__DEFAULT__IDLE".into(), "16m".into())]),
    }
    .load_session_settings()
    .unwrap()
    .rulebook;
    let loose = build_report(&rulebook, Reauthentication::Sources(&[]), &[]);
    let pci = loose.policies[0].findings.iter();
    let mut pci = pci.filter(|finding| finding.requirement == "pci-dss");
    assert_eq!(pci.next().unwrap().status, "not_met");
}

#[test]
fn the_limits_alone_can_be_checked() {
    let sources = [];
    let rulebook = ConfigSource {
        file: None,
        environment: Environment::from([(
            "CURFEW__POLICIES__DEFAULT__PRESET".into(),
            "pci-dss".into(),
        )]),
    }
    .load_session_settings()
    .unwrap()
    .rulebook;
    let pci = standards::from_name("pci-dss").unwrap();
    let full_report = build_report(&rulebook, Reauthentication::Sources(&sources), &[]);
    assert_eq!(full_report.failing_policies(pci), [vec![], vec!["default"]]);
    let limits_report = build_report(&rulebook, Reauthentication::Ignored, &[]);
    assert_eq!(
        limits_report.failing_policies(pci),
        [Vec::<&str>::new(), Vec::new()]
    );
    let text = limits_report.to_markdown();
    assert!(
        text.contains("| not checked |") && !text.contains("| ensured |"),
        "{text}"
    );
}

#[test]
fn streams_are_reported_as_far_as_the_configuration_shows_them() {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let report = |yaml: &str| {
        std::fs::write(file.path(), yaml).unwrap();
        let source = ConfigSource {
            file: Some(file.path().to_owned()),
            environment: Environment::new(),
        };
        let settings = source.load_session_settings().unwrap();
        let hosts = &settings.forwarded_hosts;
        build_report(&settings.rulebook, Reauthentication::Ignored, hosts)
    };
    let without = report("policies: {default: {idle: 15m}}");
    let statuses = without.streams.findings.iter();
    assert!(statuses.map(|it| it.status).all(|it| it == "not_verified"));
    let text = without.to_markdown();
    assert!(
        text.contains("Curfew forwards no requests. A stream that a proxy forwards stays open")
    );
    assert!(text.contains("| SC-10 | a network connection ends with its session | not verified |"));
    let with = report(
        "listen: {proxy: '[::]:9184'}\n\
         proxy: {upstreams: [{host: [app.example.com, '*.example.org'], target: 'http://app'}]}\n\
         policies: {default: {idle: 15m, stream_activity: client_data, stream_heartbeats: mqtt}}",
    );
    let text = with.to_markdown();
    assert!(
        text.contains("streams that it forwards, for app.example.com, *.example.org. This configuration does not show"),
        "{text}"
    );
    assert!(
        text.contains("Data of a client is activity, except the listed heartbeats."),
        "{text}"
    );
    assert!(
        text.contains("| AC-12 |") && text.contains("| met for the streams that Curfew forwards |")
    );
    assert_eq!(with.streams.forwarded_hosts.len(), 2);
}
