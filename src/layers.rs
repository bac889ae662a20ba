//! `ARCHITECTURE.md` lists the layers of the service. These tests compare the list with the code, and look for
//! dependency cycles in every crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules of a crate. Each module has the set of modules that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of a crate, each with its top-level module.
fn source_files(source: &Path) -> Vec<(String, PathBuf)> {
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

/// Whether a module is a test module. Test modules may use all modules.
fn is_test(name: &str) -> bool {
    matches!(
        name,
        "tests" | "testing" | "races" | "fixture" | "layers" | "conformance" | "fuzzing"
    )
}

/// Returns the code of a file, without comments and without the tests at its end.
fn read_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the first segment of each path in `code` that begins with `crate::`, also in lists in braces.
fn used_modules(code: &str) -> BTreeSet<String> {
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
        // In `use crate::{a::{A, B}, c}` the modules are the names at the outer level.
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

fn dependency_graph(source: &Path) -> Graph {
    let files = source_files(source);
    let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut graph = Graph::new();
    for (module, path) in files {
        let uses = graph.entry(module.clone()).or_default();
        let used = used_modules(&read_code(&path)).into_iter();
        uses.extend(used.filter(|name| *name != module && modules.contains(name)));
    }
    // These modules connect the other modules, so they are in no layer.
    graph.remove("lib");
    graph.remove("main");
    graph
}

/// Returns the modules of a dependency cycle, if there is one.
fn find_cycle(graph: &Graph) -> Option<Vec<String>> {
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

/// Returns the layers of `ARCHITECTURE.md` from the top down, each with its modules.
fn read_layers(kind: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(repository_root().join("ARCHITECTURE.md")).unwrap();
    let (_, block) = page.split_once(&format!("```{kind}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    block.lines().map(words).collect()
}

/// Returns each dependency that is not in a lower layer, and each module without a layer.
fn layer_violations(graph: &Graph, layers: &[Vec<String>]) -> Vec<String> {
    let layer = |name: &String| layers.iter().position(|layer| layer.contains(name));
    let mut violations = Vec::new();
    for (name, uses) in graph {
        let Some(own_layer) = layer(name) else {
            violations.push(format!("{name} is in no layer"));
            continue;
        };
        let upward = uses
            .iter()
            .filter(|used| layer(used).is_none_or(|it| it <= own_layer));
        violations.extend(upward.map(|used| format!("{name} uses {used}")));
    }
    let missing = layers
        .iter()
        .flatten()
        .filter(|name| !graph.contains_key(*name));
    violations.extend(missing.map(|name| format!("{name} does not exist")));
    violations
}

#[test]
fn modules_of_the_service_use_only_lower_layers() {
    let graph = dependency_graph(&repository_root().join("src"));
    let violations = layer_violations(&graph, &read_layers("modules"));
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn crates_use_only_lower_crates() {
    let mut graph = Graph::new();
    for entry in std::fs::read_dir(repository_root().join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let (dependencies, _) = dependencies.split_once("\n[").unwrap();
        let curfew_crates = dependencies
            .lines()
            .filter_map(|line| line.strip_prefix("curfew"));
        let uses = curfew_crates.map(|line| {
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
    let violations = layer_violations(&graph, &read_layers("crates"));
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn no_crate_has_a_cycle_of_modules() {
    for source in [
        "src",
        "crates/core/src",
        "crates/clock/src",
        "crates/telemetry/src",
        "crates/store/src",
        "crates/tools/src",
    ] {
        let graph = dependency_graph(&repository_root().join(source));
        assert!(!graph.is_empty(), "{source}");
        assert_eq!(find_cycle(&graph), None, "{source}");
    }
}

/// The functions that the tests above use must find a wrong dependency.
#[test]
fn a_reversed_dependency_is_found() {
    let used = used_modules(
        "use crate::check::Checker;\nuse crate::{app::{App, StartupError}, config};\nfn f(x: crate::live::Live<crate::policy::Policies>) {}",
    );
    let expected = ["app", "check", "config", "live", "policy"].map(str::to_owned);
    assert_eq!(used, BTreeSet::from(expected));
    let mut graph = dependency_graph(&repository_root().join("src"));
    graph
        .get_mut("lifecycle")
        .unwrap()
        .insert("check".to_owned());
    let violations = layer_violations(&graph, &read_layers("modules"));
    assert_eq!(violations, ["lifecycle uses check"]);
    assert!(find_cycle(&graph).is_some());
}
