//! Checks that no file contains the names and phrases that `docs/language.md` replaces.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that may quote old names: the lists themselves, the history, and files of older versions.
const EXEMPT_FILES: [&str; 10] = [
    "docs/language.md",
    "docs/glossary.md",
    "CHANGELOG.md",
    "docs/adr/",
    "docs/upgrading.md",
    "tests/manifests/language.rs",
    "tests/old/",
    "tests/lint/",
    // This file lists the old names of configuration keys.
    "src/config/load.rs",
    "src/config/tests.rs",
];
const CHECKED_EXTENSIONS: [&str; 14] = [
    "rs", "md", "toml", "yaml", "yml", "sh", "py", "html", "css", "js", "mjs", "json", "lua",
    "conf",
];

/// Returns the first column of the table below a heading.
fn first_column(page: &str, heading: &str) -> Vec<String> {
    let (_, rest) = page.split_once(&format!("## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    let cells = rows.map(|row| row.split('|').nth(1).unwrap().trim());
    cells
        .map(|cell| cell.trim_matches('`').to_owned())
        .collect()
}

fn list_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "target" | ".git" | "node_modules" | "corpus") {
                directories.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// Returns the identifiers in a text.
fn identifiers_in(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .collect()
}

/// Returns each replaced identifier and phrase that occurs in a file, as `file:line: entry`.
fn find_replaced_terms(
    name: &str,
    text: &str,
    names: &[String],
    phrases: &[String],
) -> Vec<String> {
    let mut found = Vec::new();
    let path_identifiers = identifiers_in(name.trim_end_matches(".rs"));
    for replaced_name in names
        .iter()
        .filter(|replaced_name| path_identifiers.contains(replaced_name.as_str()))
    {
        found.push(format!("{name}: the file is called {replaced_name}"));
    }
    let is_code = name.ends_with(".rs");
    for (number, line) in (1..).zip(text.lines()) {
        // The names must not occur in code, but comments may use the same words with their usual
        // meaning.
        let code = line.split("//").next().unwrap();
        let identifiers = if is_code {
            identifiers_in(code)
        } else {
            BTreeSet::new()
        };
        let is_key = |replaced_name: &String| {
            replaced_name.contains('_')
                && !is_code
                && identifiers_in(line).contains(replaced_name.as_str())
        };
        for replaced_name in names {
            if identifiers.contains(replaced_name.as_str()) || is_key(replaced_name) {
                found.push(format!("{name}:{number}: {replaced_name}"));
            }
        }
        let line = line.to_lowercase();
        for phrase in phrases
            .iter()
            .filter(|phrase| line.contains(phrase.as_str()))
        {
            found.push(format!("{name}:{number}: {phrase}"));
        }
    }
    found
}

#[test]
fn no_file_has_a_replaced_name_or_phrase() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/language.md")).unwrap();
    let names = first_column(&page, "Names that have a standard term");
    let phrases = first_column(&page, "Phrases that must be read twice");
    assert!(
        names.len() > 40 && phrases.len() > 10,
        "{names:?} {phrases:?}"
    );
    let mut found = Vec::new();
    let mut count = 0;
    for path in list_files(root) {
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or("");
        let is_exempt = EXEMPT_FILES.iter().any(|quoted| name.starts_with(quoted));
        if is_exempt || !CHECKED_EXTENSIONS.contains(&extension) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        count += 1;
        found.extend(find_replaced_terms(&name, &text, &names, &phrases));
    }
    println!("{count} files");
    assert!(count > 500, "{count}");
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn replaced_names_and_phrases_are_found() {
    let (names, phrases) = (vec!["Room".to_owned()], vec!["who has no place".to_owned()]);
    let count_findings =
        |name: &str, text: &str| find_replaced_terms(name, text, &names, &phrases).len();
    assert_eq!(count_findings("src/a.rs", "pub struct Room;"), 1);
    assert_eq!(
        count_findings("src/a.rs", "/// That of who has no place is not read."),
        1
    );
    assert_eq!(
        count_findings("src/a.rs", "// There is Room for more\nlet rooms = 1;"),
        0
    );
    assert_eq!(count_findings("src/Room.rs", ""), 1);
}
