//! Tests the two documentation pages about Authelia and oauth2-proxy: they link to existing snippets, quote lines of
//! these snippets, and contain a valid configuration.

use std::collections::BTreeSet;
use std::path::Path;

use crate::snippet::{folder, read_snippet, unchanged_name};
use crate::support::curfew::Setup;

const PAGES: [&str; 2] = ["coming-from-authelia.md", "coming-from-oauth2-proxy.md"];

fn read_page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the snippets that a text links to.
fn linked_snippets(text: &str) -> BTreeSet<String> {
    let links = text.split("](../tests/migration/snippets/").skip(1);
    links
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_snippet_is_linked_and_every_link_leads_to_one() {
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let named: BTreeSet<String> = PAGES
        .iter()
        .flat_map(|name| linked_snippets(&read_page(name)))
        .collect();
    assert_eq!(named, files);
    for file in files.iter().filter(|file| file.contains(".curfew.")) {
        assert!(
            files.contains(&unchanged_name(file)),
            "the unchanged file of {file} is missing"
        );
    }
}

/// Replaces each sequence of white space with one space.
fn normalize_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the cells of a table row.
fn split_cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\u{1}");
    let cells = row.trim().trim_matches('|').split('|');
    cells
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

/// Returns the parts of the code in a cell that must be in a snippet. `…` marks an omission.
fn quoted_code(cell: &str) -> Vec<String> {
    let mark = if cell.contains("``") { "``" } else { "`" };
    let code = cell.split(mark).skip(1).step_by(2);
    code.filter(|code| !code.contains('…'))
        .map(normalize_space)
        .collect()
}

const TABLE_HEAD: &str = "| line you have | line with Curfew | why |";

#[test]
fn table_lines_are_in_the_snippets() {
    let mut rows = 0;
    for name in PAGES {
        let page = read_page(name);
        for section in page.split("\n### ").skip(1) {
            let Some((before, table)) = section.split_once(TABLE_HEAD) else {
                continue;
            };
            let title = section.lines().next().unwrap();
            let files = linked_snippets(before);
            let (for_curfew, documented): (Vec<_>, Vec<_>) = files
                .iter()
                .map(|file| {
                    (
                        file.contains(".curfew."),
                        normalize_space(&read_snippet(file)),
                    )
                })
                .partition(|(for_curfew, _)| *for_curfew);
            assert!(!for_curfew.is_empty(), "{name}, {title}: no snippets");
            // Skips the rest of the heading line, and the line below it.
            let table = table.lines().skip(2);
            for row in table.take_while(|row| row.starts_with('|')) {
                let cells = split_cells(row);
                assert_eq!(cells.len(), 3, "{row}");
                for (cell, files) in [(&cells[0], &documented), (&cells[1], &for_curfew)] {
                    for code in quoted_code(cell) {
                        let found = files.iter().any(|(_, text)| text.contains(&code));
                        assert!(found, "{name}, {title}: `{code}` is in no snippet");
                    }
                }
                rows += 1;
            }
        }
    }
    assert!(rows > 60, "{rows} rows");
}

/// The first code block of each page is a complete configuration.
#[test]
fn the_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    for name in PAGES {
        let page = read_page(name);
        let block = page.split("```yaml\n").nth(1).unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let path = directory.path().join("curfew.yaml");
        std::fs::write(&path, block).unwrap();
        let setup = Setup::memory().config_file(&path);
        let output = setup.command(&["check-config"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
    }
}
