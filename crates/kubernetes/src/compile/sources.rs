//! The objects that set fields: policies, annotations and the bounds of the cluster.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::AnnotationMistake;
use crate::annotations;
use crate::cluster_policy::ClusterPolicy;
use crate::merge::Merged;
use crate::objects::{Metadata, ObjectKey};
use crate::policy::HostPattern;
use crate::routes::{RoutePath, RouteRule, Routes};
use crate::session_policy::TargetRef;
use crate::state::State;

/// A kind of object and the key of the object.
type ObjectId = (String, ObjectKey);

/// All objects that set fields. The position of an object in `merged` stands for the object.
pub(super) struct Sources {
    merged: Vec<Merged>,
    /// The policies of each target, with the section that each names.
    by_target: BTreeMap<ObjectId, Vec<(Option<String>, usize)>>,
    /// The annotations of each object.
    by_object: BTreeMap<ObjectId, usize>,
    /// All policies of a namespace.
    by_namespace: BTreeMap<String, Vec<usize>>,
    pub(super) session_policies: BTreeMap<ObjectKey, (usize, Vec<String>)>,
    pub(super) cluster_policies: Vec<(String, ClusterPolicy, Vec<String>, usize)>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) mistakes: Vec<AnnotationMistake>,
}

impl Sources {
    pub(super) fn new(state: &State) -> Self {
        let mut sources = Self {
            merged: Vec::new(),
            by_target: BTreeMap::new(),
            by_object: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            session_policies: BTreeMap::new(),
            cluster_policies: Vec::new(),
            labels: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        for (key, policy) in &state.session_policies {
            let (fields, mistakes) = policy.spec.parse();
            let from: Arc<str> = format!("SessionPolicy {key}").into();
            let source = sources.add(Merged::of_fields(&fields, &from));
            for TargetRef {
                kind,
                name,
                section_name,
                ..
            } in &policy.spec.target_refs
            {
                let target = (kind.clone(), ObjectKey::new(&key.namespace, name));
                let of_target = sources.by_target.entry(target).or_default();
                of_target.push((section_name.clone(), source));
            }
            let of_namespace = sources.by_namespace.entry(key.namespace.clone());
            of_namespace.or_default().push(source);
            sources
                .session_policies
                .insert(key.clone(), (source, mistakes));
        }
        for (key, policy) in &state.cluster_policies {
            let name = &key.name;
            let (policy, mistakes) = policy.spec.parse();
            let from: Arc<str> = format!("ClusterSessionPolicy {name}").into();
            let source = sources.add(Merged::of_cluster_policy(&policy, &from));
            let policy = (name.clone(), policy, mistakes, source);
            sources.cluster_policies.push(policy);
        }
        for (key, namespace) in &state.namespaces {
            let labels = namespace.metadata.labels.clone();
            sources.labels.insert(key.name.clone(), labels);
            sources.add_annotations("Namespace", key, &namespace.metadata);
        }
        for (key, object) in &state.services {
            sources.add_annotations("Service", key, &object.metadata);
        }
        for (key, object) in &state.ingresses {
            sources.add_annotations("Ingress", key, &object.metadata);
        }
        for (key, object) in &state.http_routes {
            sources.add_annotations("HTTPRoute", key, &object.metadata);
        }
        for (key, object) in &state.grpc_routes {
            sources.add_annotations("GRPCRoute", key, &object.metadata);
        }
        sources
    }

    fn add(&mut self, merged: Merged) -> usize {
        self.merged.push(merged);
        self.merged.len() - 1
    }

    fn add_annotations(&mut self, kind: &'static str, key: &ObjectKey, metadata: &Metadata) {
        let Some((fields, mistakes)) = annotations::parse(&metadata.annotations) else {
            return;
        };
        for message in mistakes {
            let key = key.clone();
            self.mistakes.push(AnnotationMistake { kind, key, message });
        }
        let from: Arc<str> = format!("{kind} {key} (annotation)").into();
        let source = self.add(Merged::of_fields(&fields, &from));
        let id = (kind.to_owned(), key.clone());
        self.by_object.insert(id, source);
    }

    /// Returns all objects that apply to the requests of a rule for a host.
    pub(super) fn of_rule(&self, rule: &RouteRule, host: &HostPattern) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let namespace = &rule.route.key.namespace;
        let route = (rule.route.kind.to_owned(), rule.route.key.clone());
        self.add_target(&mut found, &route, |section| {
            rule.section.as_deref() == Some(section)
        });
        let services = rule.services.iter();
        let targets = services.map(|service| ("Service".to_owned(), service.clone()));
        for service in targets {
            self.add_target(&mut found, &service, |_| false);
        }
        if let Some((gateway, listener)) = rule.listener.as_deref() {
            let gateway = ("Gateway".to_owned(), gateway.clone());
            self.add_target(&mut found, &gateway, |section| section == listener);
        }
        let namespace_id = ("Namespace".to_owned(), ObjectKey::new("", namespace));
        found.extend(self.by_object.get(&namespace_id));
        if matches!(rule.path, RoutePath::Unknown) {
            found.extend(self.by_namespace.get(namespace).into_iter().flatten());
        }
        for (_, policy, _, source) in &self.cluster_policies {
            let covers_host =
                policy.hosts.is_empty() || policy.hosts.iter().any(|it| it.covers(host));
            if self.selects(policy, namespace) && covers_host {
                found.insert(*source);
            }
        }
        found
    }

    fn add_target(
        &self,
        found: &mut BTreeSet<usize>,
        target: &ObjectId,
        is_section: impl Fn(&str) -> bool,
    ) {
        let policies = self.by_target.get(target).into_iter().flatten();
        let policies = policies.filter(|(section, _)| section.as_deref().is_none_or(&is_section));
        found.extend(policies.map(|(_, source)| source));
        found.extend(self.by_object.get(target));
    }

    /// Returns the hosts of bounds that are some of the hosts of a rule. For each of them, other fields can apply than for
    /// the rest.
    pub(super) fn narrower_hosts(&self, rule: &RouteRule, host: &HostPattern) -> Vec<HostPattern> {
        let namespace = &rule.route.key.namespace;
        let policies = self.cluster_policies.iter();
        let policies = policies.filter(|(_, policy, ..)| self.selects(policy, namespace));
        let hosts = policies.flat_map(|(_, policy, ..)| &policy.hosts);
        let narrower = hosts.filter(|it| host.covers(it) && !it.covers(host));
        // A wildcard of an Ingress stands for one label.
        let is_served = |part: &&HostPattern| {
            let labels = |pattern: &HostPattern| pattern.to_string().split('.').count();
            !rule.is_single_label || labels(part) == labels(host)
        };
        narrower.filter(is_served).cloned().collect()
    }

    /// Whether a policy selects a namespace by its labels.
    fn selects(&self, policy: &ClusterPolicy, namespace: &str) -> bool {
        let Some(selector) = &policy.selector else {
            return true;
        };
        let labels = self.labels.get(namespace);
        labels.is_some_and(|labels| selector.matches(labels))
    }

    /// Whether the ceilings of a policy with a selector hold in a namespace. They also hold in a namespace that Curfew does
    /// not know.
    fn bounds(&self, policy: &ClusterPolicy, namespace: &str) -> bool {
        policy.selector.is_some()
            && (self.selects(policy, namespace) || !self.labels.contains_key(namespace))
    }

    /// Returns the ceilings of each policy with a selector, with the hosts that the routes of its namespaces name, and
    /// whether such a route serves every host. No other route can take these ceilings away.
    pub(super) fn selected_ceilings(
        &self,
        routes: &Routes,
    ) -> impl Iterator<Item = (Vec<HostPattern>, bool, Merged)> {
        self.cluster_policies.iter().map(|(_, policy, _, source)| {
            let mut hosts = HashSet::new();
            for (namespace, named) in &routes.named_hosts {
                if !self.bounds(policy, namespace) {
                    continue;
                }
                for host in named {
                    match policy.hosts.as_slice() {
                        [] => hosts.extend([host.clone()]),
                        bounds => {
                            hosts.extend(bounds.iter().filter_map(|it| it.intersection(host)))
                        }
                    }
                }
            }
            let mut everywhere = routes.with_every_host.iter();
            let serves_every_host = everywhere.any(|namespace| self.bounds(policy, namespace));
            let ceilings = self.merged[*source].only_ceilings();
            (hosts.into_iter().collect(), serves_every_host, ceilings)
        })
    }

    /// The bounds that apply to hosts in every namespace, with these hosts. An empty list stands for all hosts.
    pub(super) fn cluster_wide(&self) -> impl Iterator<Item = (&[HostPattern], &Merged)> {
        let policies = self.cluster_policies.iter();
        let policies = policies.filter(|(_, policy, ..)| policy.selector.is_none());
        policies.map(|(_, policy, _, source)| (&*policy.hosts, &self.merged[*source]))
    }

    pub(super) fn merge(&self, sources: &BTreeSet<usize>) -> Merged {
        let sources = sources.iter().map(|source| &self.merged[*source]);
        sources.fold(Merged::default(), |all, source| all.join(source))
    }
}
