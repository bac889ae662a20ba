//! Turns the annotations of Ingresses that send a check to Authelia, oauth2-proxy or another service into
//! SessionPolicies.
//!
//! The migration takes over the limits and the groups, and nothing else. For everything else that concerns the check, it
//! writes a note, so that nobody loses a restriction without a notice.

mod auth_url;
mod authelia;
mod check;
mod config_error;
mod duration;
mod family;
mod ingress;
mod limits;
mod oauth2_proxy;
mod policy;

use std::collections::HashMap;
use std::fmt;

pub use authelia::AutheliaConfig;
pub use config_error::ConfigError;
pub use duration::parse_limit;
pub use limits::LimitSources;
pub use oauth2_proxy::Oauth2ProxyConfig;

use crate::yaml::YamlError;
use crate::yaml_node;
use auth_url::Service;
use check::Annotations;
use family::Family;
use ingress::Ingress;
use policy::{SessionPolicy, write_comment};

/// Where the output explains the next steps.
const PAGES: &str = "docs/migrating-annotations.md and docs/kubernetes-policies.md";

/// A migration: the SessionPolicies and the notes for all files that it has read.
#[derive(Debug, Default)]
pub struct Migration {
    sources: LimitSources,
    entries: Vec<Entry>,
    families: Vec<&'static Family>,
    services: Vec<Service>,
    /// The file and the line of each Ingress.
    known: HashMap<(Option<String>, String), String>,
    counts: Counts,
}

/// An Ingress with a known annotation.
#[derive(Debug)]
struct Entry {
    title: String,
    file: String,
    line: usize,
    notes: Vec<(usize, String)>,
    policy: Option<SessionPolicy>,
}

/// The numbers of objects and notes. Its text is the last line of the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ingresses.
    pub ingresses: usize,
    /// SessionPolicies in the output.
    pub policies: usize,
    /// Notes: settings that are not taken over, and limits that are not known.
    pub notes: usize,
    /// Ingresses without an annotation that concerns checks.
    pub without_annotation: usize,
    /// Objects of other kinds.
    pub other_objects: usize,
}

impl Migration {
    /// Begins a migration.
    #[must_use]
    pub fn new(sources: LimitSources) -> Self {
        Self {
            sources,
            ..Self::default()
        }
    }

    /// Reads the text of a file: YAML or JSON, with any number of documents and lists. `file` is the name in messages.
    ///
    /// # Errors
    /// [`YamlError`] with the line. Then the migration takes over nothing of the file.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), YamlError> {
        for document in yaml_node::parse(text)? {
            let others = ingress::visit(&document, &mut |it| self.add(file, &it));
            self.counts.other_objects += others;
        }
        Ok(())
    }

    fn add(&mut self, file: &str, ingress: &Ingress<'_>) {
        self.counts.ingresses += 1;
        let annotations = Annotations::of(ingress);
        if !annotations.is_known() {
            self.counts.without_annotation += 1;
            return;
        }
        let mut entry = Entry {
            title: ingress.title(),
            file: file.to_owned(),
            line: ingress.line,
            notes: annotations.notes,
            policy: None,
        };
        for family in annotations.families {
            if !self.families.iter().any(|known| known.name == family.name) {
                self.families.push(family);
            }
        }
        if let Some(check) = annotations.check {
            if !self.services.contains(&check.service) {
                self.services.push(check.service);
            }
            entry.add_policy(ingress, check, &self.sources, &mut self.known);
        }
        self.entries.push(entry);
    }

    /// Writes the SessionPolicies as YAML documents, with the notes as comments above each.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        for line in self.next_steps().chain(self.general_notes()) {
            write_comment(&mut yaml, &line);
        }
        for entry in &self.entries {
            yaml.push_str(if entry.policy.is_some() {
                "---\n"
            } else {
                "\n"
            });
            let Entry {
                title, file, line, ..
            } = entry;
            write_comment(&mut yaml, &format!("Ingress {title} ({file}:{line})"));
            for (line, note) in &entry.notes {
                write_comment(&mut yaml, &format!("note: line {line}: {note}"));
            }
            if let Some(policy) = &entry.policy {
                policy.write(&mut yaml);
            }
        }
        yaml
    }

    /// Returns the lines of the summary: the next steps, and each note with its file, its line and its Ingress.
    pub fn summary(&self) -> impl Iterator<Item = String> + '_ {
        let notes = self.entries.iter().flat_map(|entry| {
            let Entry { title, file, .. } = entry;
            let notes = entry.notes.iter();
            notes.map(move |(line, note)| format!("{file}:{line}: note: Ingress {title}: {note}"))
        });
        let general = self.general_notes();
        general.chain(notes).chain(self.next_steps())
    }

    /// Returns the numbers of objects and notes.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let notes = self.entries.iter().map(|entry| entry.notes.len());
        Counts {
            policies: self.entries.iter().filter(|it| it.policy.is_some()).count(),
            notes: notes.sum::<usize>() + self.general_notes().count(),
            ..self.counts
        }
    }

    /// Returns how to send the checks to Curfew, one line for each controller.
    fn next_steps(&self) -> impl Iterator<Item = String> + '_ {
        let first = format!(
            "next: a SessionPolicy applies only to requests that the proxy checks with Curfew. See {PAGES}"
        );
        let first = (!self.families.is_empty()).then_some(first);
        let families = self.families.iter();
        let steps = families.map(|family| format!("next: {}", family.attach));
        first.into_iter().chain(steps)
    }

    /// Returns the notes on the configuration files.
    fn general_notes(&self) -> impl Iterator<Item = String> + '_ {
        let authelia = self.sources.authelia.as_ref().map(|it| &it.notes);
        let oauth2_proxy = self.sources.oauth2_proxy.as_ref().map(|it| &it.notes);
        let files = [
            (Service::Authelia, "Authelia", "--authelia-config", authelia),
            (
                Service::Oauth2Proxy,
                "oauth2-proxy",
                "--oauth2-proxy-config",
                oauth2_proxy,
            ),
        ];
        files
            .into_iter()
            .flat_map(|(service, name, option, notes)| {
                let is_used = self.services.contains(&service);
                let unused = format!("note: {option} is not used: no Ingress asks {name}");
                let unused = (notes.is_some() && !is_used).then_some(unused);
                let notes = notes.filter(|_| is_used).into_iter().flatten();
                let notes = notes.map(move |note| format!("note: {name}: {note}"));
                unused.into_iter().chain(notes)
            })
    }
}

impl Entry {
    fn add_policy(
        &mut self,
        ingress: &Ingress<'_>,
        check: check::Check,
        sources: &LimitSources,
        known: &mut HashMap<(Option<String>, String), String>,
    ) {
        let line = ingress.line;
        let Some(name) = ingress.name else {
            let message = "no policy: the Ingress has no name, so a policy cannot refer to it";
            self.notes.push((line, message.to_owned()));
            return;
        };
        let namespace = ingress.namespace.map(str::to_owned);
        let key = (namespace.clone(), name.to_owned());
        if let Some(first) = known.get(&key) {
            let message =
                format!("no policy: this Ingress is also at {first}, and only that copy counts");
            self.notes.push((line, message));
            return;
        }
        known.insert(key, format!("{}:{line}", self.file));
        let limits = sources.limits(ingress, check.service);
        let notes = limits.notes.into_iter().map(|note| (line, note));
        self.notes.extend(notes);
        let policy = SessionPolicy {
            namespace,
            name: name.to_owned(),
            idle: limits.idle,
            absolute: limits.absolute,
            require_groups: check.groups,
        };
        if policy.is_empty() {
            let message = "no policy: without a limit and without groups, it would change nothing";
            self.notes.push((line, message.to_owned()));
            return;
        }
        if ingress.serves_every_host {
            let message =
                "the policy does not apply to a rule without a host and to the default backend";
            self.notes.push((line, message.to_owned()));
        }
        if ingress.namespace.is_none() {
            let message =
                "the file has no namespace: apply the policy in the namespace of the Ingress";
            self.notes.push((line, message.to_owned()));
        }
        self.policy = Some(policy);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: usize, one: &str, more: &str| match number {
            1 => format!("1 {one}"),
            _ => format!("{number} {more}"),
        };
        write!(
            f,
            "{} read, {} printed, {}; {} without a known annotation, {} skipped",
            count(self.ingresses, "Ingress", "Ingresses"),
            count(self.policies, "policy", "policies"),
            count(self.notes, "note", "notes"),
            count(self.without_annotation, "Ingress", "Ingresses"),
            count(self.other_objects, "other object", "other objects"),
        )
    }
}

#[cfg(test)]
mod tests;
