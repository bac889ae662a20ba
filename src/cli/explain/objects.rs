//! Kubernetes objects from files, whose limits an explanation also applies.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use curfew_kubernetes::{State, compile_alone};

use crate::escape::line;
use crate::policy::{Routes, Rulebook};

/// Puts the limits of the objects in force. Returns notes: what does not apply, and what was not used.
pub(super) fn apply(files: &[PathBuf], rulebook: &Rulebook) -> anyhow::Result<Vec<String>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut state = State::default();
    let mut skipped = BTreeSet::new();
    for file in files {
        let name = || format!("--objects {}", file.display());
        let text = read(file).with_context(name)?;
        skipped.extend(state.read(&text).with_context(name)?);
    }
    let compiled = compile_alone(&state);
    let compiled = compiled.context("--objects")?;
    let mut notes = vec![format!(
        "examined {} routes, {} SessionPolicies and {} ClusterSessionPolicies",
        state.ingresses.len() + state.http_routes.len() + state.grpc_routes.len(),
        state.session_policies.len(),
        state.cluster_policies.len(),
    )];
    notes.extend(compiled.mistakes.iter().map(ToString::to_string));
    notes.extend(compiled.refusals());
    if !skipped.is_empty() {
        let kinds: Vec<_> = skipped.into_iter().collect();
        notes.push(format!("not used: {}", kinds.join(", ")));
    }
    let index = Box::new(compiled.index);
    rulebook.routes.replace(Routes::Known(index));
    Ok(notes)
}

/// Writes the notes to standard error, because standard output is for programs.
#[expect(clippy::disallowed_methods, reason = "each line is escaped")]
pub(super) fn warn(notes: &[String]) {
    let mut err = std::io::stderr();
    for note in notes {
        let _ = writeln!(err, "note: {}", line(note));
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}
