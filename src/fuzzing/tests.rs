use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// The number of runs of each target.
const RUNS_PER_TARGET: u32 = 300;

/// Texts that are inserted at random places.
const FRAGMENTS: &[&str] = &[
    "",
    "%",
    "%2e",
    "%2F",
    "%252f",
    "..",
    "/",
    "//",
    "\\",
    ";",
    "#",
    "?",
    "&",
    "=",
    ",",
    "\"",
    "'",
    ":",
    "\n",
    "\n\n",
    "\r\n",
    "\0",
    "\t",
    " ",
    "é",
    "\u{ff0f}",
    "\u{feff}",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "null",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "session=",
    "__Host-session=",
    "; session=",
    "cookie: ",
    "Cookie: session=a\n",
    "authorization: Bearer ",
    "x-original-url: ",
    "https://",
    "/public",
    "/public/..",
    "*",
    "eyJ",
    ".",
    "_",
];

/// A random change of a seed. The first value is the position of the change.
#[derive(Clone, Debug)]
enum Change {
    /// Replaces one byte with this byte.
    SetByte(usize, u8),
    /// Removes this number of bytes.
    Cut(usize, usize),
    /// Inserts the fragment at this index of [`FRAGMENTS`].
    InsertFragment(usize, usize),
    /// Repeats this number of bytes, this number of times.
    Repeat(usize, usize, usize),
    /// Replaces the rest with the end of the seed at this index.
    ReplaceRest(usize, usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    let (position, length) = (any::<usize>(), 0..64_usize);
    prop_oneof![
        (position, any::<u8>()).prop_map(|(at, byte)| Change::SetByte(at, byte)),
        (position, length.clone()).prop_map(|(at, length)| Change::Cut(at, length)),
        (position, 0..FRAGMENTS.len()).prop_map(|(at, word)| Change::InsertFragment(at, word)),
        (position, length, 1..20_usize)
            .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (position, any::<usize>()).prop_map(|(at, other)| Change::ReplaceRest(at, other)),
    ]
}

/// Returns the seed at the index `seed` with `changes`.
fn apply_changes(seeds: &[Vec<u8>], seed: usize, changes: &[Change]) -> Vec<u8> {
    let mut bytes = seeds[seed % seeds.len()].clone();
    for change in changes {
        let end = bytes.len();
        let clamp = |position: usize| position % (end + 1);
        match *change {
            Change::SetByte(position, byte) => {
                if let Some(old) = bytes.get_mut(clamp(position)) {
                    *old = byte;
                }
            }
            Change::Cut(position, length) => {
                bytes.drain(clamp(position)..(clamp(position) + length).min(end));
            }
            Change::InsertFragment(position, word) => {
                bytes.splice(clamp(position)..clamp(position), FRAGMENTS[word].bytes());
            }
            Change::Repeat(position, length, times) => {
                let piece =
                    bytes[clamp(position)..(clamp(position) + length).min(end)].repeat(times);
                bytes.splice(clamp(position)..clamp(position), piece);
            }
            Change::ReplaceRest(position, other) => {
                let other = &seeds[other % seeds.len()];
                let piece = other[position % (other.len() + 1)..].to_vec();
                bytes.splice(clamp(position).., piece);
            }
        }
    }
    bytes
}

/// Returns the seeds of a target, the smallest first.
fn read_seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut seeds: Vec<Vec<u8>> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds.sort_by_key(Vec::len);
    seeds
}

fn run_target(target: &Target) {
    let seeds = read_seeds(target.name);
    for seed in &seeds {
        (target.run)(seed);
    }
    let mut runner = TestRunner::new(Config {
        cases: RUNS_PER_TARGET,
        failure_persistence: None,
        ..Config::default()
    });
    let inputs = (any::<usize>(), vec(any_change(), 0..8));
    let result = runner.run(&inputs, |(seed, changes)| {
        (target.run)(&apply_changes(&seeds, seed, &changes));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{}: {failure}", target.name);
    }
}

#[test]
fn every_target_passes_with_changed_seeds() {
    for target in &TARGETS {
        run_target(target);
    }
}

/// The package in `fuzz/`, which `scripts/fuzz.sh` runs, must have the same targets as [`TARGETS`].
#[test]
fn the_fuzzer_has_the_same_targets() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    let manifest_files: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"))
        .collect();
    let expected_files: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("{}.rs\"", target.name))
        .collect();
    assert_eq!(manifest_files, expected_files);
    for target in &TARGETS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("fuzz/fuzz_targets/{}.rs", target.name));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains(&format!("curfew::fuzzing::run(\"{}\", data)", target.name)),
            "{file:?}"
        );
    }
}
