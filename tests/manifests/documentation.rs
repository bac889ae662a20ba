//! Checks that the tests, verdicts and files that the documentation names exist.

use std::collections::BTreeSet;
use std::path::Path;

/// Adds the names of all Rust functions in `folder` to `names`. The tests are among them.
fn collect_test_names(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_test_names(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter_map(|line| {
                let (_, rest) = line.trim_start().split_once("fn ")?;
                Some(rest.split(['(', '<']).next()?.to_owned())
            });
            names.extend(lines);
        }
    }
}

#[test]
fn the_threat_model_names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    collect_test_names(&root.join("src"), &mut known);
    collect_test_names(&root.join("tests"), &mut known);
    collect_test_names(&root.join("crates"), &mut known);
    let matrix = std::fs::read_to_string(root.join("docs/proxies/README.md")).unwrap();
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let table = page.split("## What went wrong elsewhere").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("| attack |"));
    let mut count = 0;
    for row in rows {
        let evidence = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let mut has_evidence = false;
        for word in evidence.split(", ").map(str::trim) {
            has_evidence = true;
            match word.strip_prefix('`') {
                Some(name) => assert!(known.contains(name.trim_end_matches('`')), "{word}: {row}"),
                None => assert!(
                    matrix.contains(&format!("\n| {word} | ")),
                    "case {word}: {row}"
                ),
            }
        }
        assert!(has_evidence, "{row}");
        count += 1;
    }
    assert!(count > 25, "{count}");
    // Outside the table, each name in backticks with more than four words is the name of a test.
    for name in page.split('`').skip(1).step_by(2) {
        let is_test = name.matches('_').count() > 3 && !name.contains(['{', '.', ' ']);
        assert!(!is_test || known.contains(name), "{name}");
    }
}

/// Each verdict in the operations guide is a verdict in the code.
#[test]
fn the_operations_guide_lists_every_verdict() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let verdict_source =
        std::fs::read_to_string(root.join("crates/core/src/session/verdict.rs")).unwrap();
    let guide = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let table = guide.split("### Everyone was logged out").nth(1).unwrap();
    let table = table.split("### ").next().unwrap();
    let verdicts = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let verdicts: Vec<&str> = verdicts.collect();
    assert!(verdicts.len() > 6, "{verdicts:?}");
    for verdict in verdicts {
        assert!(
            verdict_source.contains(&format!("\"{verdict}\"")),
            "{verdict}"
        );
    }
}

/// The files that the recipes of CONTRIBUTING.md name exist.
#[test]
fn recipes_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (_, recipes) = page.split_once("## Recipes\n").unwrap();
    let mut count = 0;
    for name in recipes.split('`').skip(1).step_by(2) {
        let is_path = name.contains('/') && !name.contains([' ', '{']) && !name.starts_with('/');
        if is_path && !name.contains("NAME") {
            assert!(root.join(name).exists(), "{name}");
            count += 1;
        }
    }
    assert!(count > 25, "{count}");
}
