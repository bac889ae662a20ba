//! `ARCHITECTURE.md` lists the layers of the service. These tests compare the list with the code, and look for circles in
//! every crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules, each with the modules of its crate that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a crate, with the top-level module of each.
fn files(source: &Path) -> Vec<(String, PathBuf)> {
    fn walk(directory: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if is_test(&name) {
                continue;
            }
            let module = module.unwrap_or(&name);
            if path.is_dir() {
                walk(&path, Some(module), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((module.to_owned(), path));
            }
        }
    }
    let mut found = Vec::new();
    walk(source, None, &mut found);
    found
}

/// Tests may use everything.
fn is_test(name: &str) -> bool {
    matches!(
        name,
        "tests" | "testing" | "races" | "fixture" | "layers" | "conformance" | "fuzzing"
    )
}

/// The code of a file, without comments and without the tests at its end.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first segments of the paths in `code` that begin with `crate::`, also of lists in braces.
fn used(code: &str) -> BTreeSet<String> {
    let identifier = |text: &str| {
        let end = text.find(|it: char| !it.is_alphanumeric() && it != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut used = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            used.insert(identifier(path));
            continue;
        };
        // `use crate::{a::{A, B}, c}`: what begins at the outer level.
        let (mut depth, mut at_start) = (0_usize, true);
        for (at, character) in list.char_indices() {
            match character {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                _ if at_start && character.is_alphabetic() => {
                    used.insert(identifier(&list[at..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn graph(source: &Path) -> Graph {
    let files = files(source);
    let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut graph = Graph::new();
    for (module, path) in files {
        let uses = graph.entry(module.clone()).or_default();
        let known = used(&code(&path)).into_iter();
        uses.extend(known.filter(|name| *name != module && modules.contains(name)));
    }
    // These join the others.
    graph.remove("lib");
    graph.remove("main");
    graph
}

/// A circle, as the modules on it.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn visit<'a>(
        module: &'a str,
        graph: &'a Graph,
        done: &mut BTreeSet<&'a str>,
        path: &mut Vec<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|it| *it == module) {
            return Some(path[start..].iter().map(|it| (*it).to_owned()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        path.push(module);
        for used in graph.get(module).into_iter().flatten() {
            let found = visit(used, graph, done, path);
            if found.is_some() {
                return found;
            }
        }
        path.pop();
        None
    }
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|module| visit(module, graph, &mut done, &mut Vec::new()))
}

/// The layers in `ARCHITECTURE.md`, from the top down: the first word of each line is its name.
fn layers(kind: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, block) = page.split_once(&format!("```{kind}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    block.lines().map(words).collect()
}

/// Each name of a graph with what it uses, where that is not in a lower layer.
fn upward(graph: &Graph, layers: &[Vec<String>]) -> Vec<String> {
    let layer = |name: &String| layers.iter().position(|layer| layer.contains(name));
    let mut wrong = Vec::new();
    for (name, uses) in graph {
        let Some(own) = layer(name) else {
            wrong.push(format!("{name} is in no layer"));
            continue;
        };
        let upward = uses
            .iter()
            .filter(|used| layer(used).is_none_or(|it| it <= own));
        wrong.extend(upward.map(|used| format!("{name} uses {used}")));
    }
    let known = layers
        .iter()
        .flatten()
        .filter(|name| !graph.contains_key(*name));
    wrong.extend(known.map(|name| format!("{name} does not exist")));
    wrong
}

#[test]
fn modules_of_the_service_use_only_those_below_them() {
    let graph = graph(&root().join("src"));
    let wrong = upward(&graph, &layers("modules"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_use_only_those_below_them() {
    let mut graph = Graph::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let (dependencies, _) = dependencies.split_once("\n[").unwrap();
        let own = dependencies
            .lines()
            .filter_map(|line| line.strip_prefix("curfew"));
        let uses = own.map(|line| {
            let name = line.split(['.', ' ']).next().unwrap();
            name.trim_start_matches('-').to_owned()
        });
        let uses = uses.map(|name| {
            if name.is_empty() {
                "service".to_owned()
            } else {
                name
            }
        });
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        graph.insert(name, uses.collect());
    }
    let service = graph.keys().filter(|name| *name != "testkit").cloned();
    graph.insert("service".to_owned(), service.collect());
    let wrong = upward(&graph, &layers("crates"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    for source in [
        "src",
        "crates/core/src",
        "crates/clock/src",
        "crates/telemetry/src",
        "crates/store/src",
        "crates/tools/src",
    ] {
        let graph = graph(&root().join(source));
        assert!(!graph.is_empty(), "{source}");
        assert_eq!(circle(&graph), None, "{source}");
    }
}

/// The test above finds what it looks for.
#[test]
fn a_reversed_dependency_is_found() {
    let used_by = used(
        "use crate::check::Checker;\nuse crate::{app::{App, StartupError}, config};\nfn f(x: crate::live::Live<crate::policy::Policies>) {}",
    );
    let expected = ["app", "check", "config", "live", "policy"].map(str::to_owned);
    assert_eq!(used_by, BTreeSet::from(expected));
    let mut graph = graph(&root().join("src"));
    graph
        .get_mut("lifecycle")
        .unwrap()
        .insert("check".to_owned());
    let wrong = upward(&graph, &layers("modules"));
    assert_eq!(wrong, ["lifecycle uses check"]);
    assert!(circle(&graph).is_some());
}
