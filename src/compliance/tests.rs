use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config::{Environment, Source};
use crate::policy::Preset;

/// The report on the example configuration is the one in the documentation.
#[test]
fn the_documented_report() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/curfew/curfew.yaml");
    let source = Source {
        file: Some(file),
        environment: Environment::new(),
    };
    let report = report(&source.load().unwrap().config.book).to_markdown();
    let documented = include_str!("../../docs/compliance-example.md");
    assert!(
        documented == report,
        "cargo run -- compliance --config deploy/curfew/curfew.yaml > docs/compliance-example.md"
    );
}

fn standing(requirement: &str, idle: Option<u64>, absolute: u64) -> Standing {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let policy = Policy::of(Limits {
        idle: idle.map(minutes),
        absolute: minutes(absolute),
        max_auth_age: None,
    });
    standards::named(requirement).unwrap().standing(&policy)
}

#[test]
fn each_standard_at_its_edges() {
    use Standing::{Departs, Met, NotMet};
    const HOURS: u64 = 60;
    const DAYS: u64 = 24 * HOURS;
    for (requirement, idle, absolute, expected) in [
        ("nist-rev4-aal1", None, 30 * DAYS, Met),
        ("nist-rev4-aal1", None, 30 * DAYS + 1, Departs),
        ("nist-rev4-aal2", Some(60), 24 * HOURS, Met),
        ("nist-rev4-aal2", Some(61), 24 * HOURS, Departs),
        ("nist-rev4-aal2", Some(60), 24 * HOURS + 1, Departs),
        ("nist-rev4-aal3", Some(15), 12 * HOURS, Met),
        ("nist-rev4-aal3", Some(16), 12 * HOURS, Departs),
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
        // Without an idle limit the absolute one ends unused sessions, too.
        ("pci-dss", None, 15, Met),
        ("hipaa", Some(60), 90 * DAYS, Met),
        ("hipaa", None, 12 * HOURS, NotMet),
    ] {
        let found = standing(requirement, idle, absolute);
        assert_eq!(found, expected, "{requirement} {idle:?} {absolute}");
    }
}

#[test]
fn the_remembered_count() {
    let limits = Limits {
        idle: Some(Duration::from_secs(900)),
        absolute: Duration::from_secs(43_200),
        max_auth_age: None,
    };
    let mut policy = Policy::of(limits);
    let pci = standards::named("pci-dss").unwrap();
    assert_eq!(pci.standing(&policy), Standing::Met);
    policy.remember = Some(Limits {
        idle: Some(Duration::from_secs(86_400)),
        ..limits
    });
    assert_eq!(pci.standing(&policy), Standing::NotMet);
}

/// Who keeps to a preset meets the standard that it is named after.
#[test]
fn a_preset_keeps_its_promise() {
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
        let preset = Preset::named(preset).unwrap();
        let policy = Policy::of(Limits {
            idle: preset.idle,
            absolute: preset.absolute,
            max_auth_age: None,
        });
        let requirement = standards::named(requirement).unwrap();
        assert_eq!(
            requirement.standing(&policy),
            Standing::Met,
            "{}",
            preset.name
        );
    }
    assert_eq!(Preset::ALL.len(), 12, "all of them are above");
}
