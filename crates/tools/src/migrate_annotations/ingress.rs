//! The Ingresses in a file.

use crate::yaml_node::Node;

/// The parts of an Ingress that the migration reads.
#[derive(Debug)]
pub(super) struct Ingress<'a> {
    /// The line of the Ingress, from 1.
    pub(super) line: usize,
    /// `None` if the file leaves the namespace to `kubectl`.
    pub(super) namespace: Option<&'a str>,
    /// `None` if the API server generates the name.
    pub(super) name: Option<&'a str>,
    /// The names, the lines and the values of the annotations.
    pub(super) annotations: Vec<(&'a str, usize, &'a str)>,
    /// The hosts of the rules.
    pub(super) hosts: Vec<&'a str>,
    /// Whether the Ingress also serves requests for other hosts.
    pub(super) serves_every_host: bool,
}

impl<'a> Ingress<'a> {
    fn of(document: &'a Node, line: usize) -> Self {
        let text = |path: &[&str]| {
            let value = document.get_path(path).and_then(Node::text);
            value.filter(|text| !text.is_empty())
        };
        let annotations = document.get_path(&["metadata", "annotations"]);
        let annotations = annotations.into_iter().flat_map(Node::entries);
        let rules = document.get_path(&["spec", "rules"]);
        let rules = rules.map_or(&[][..], Node::items).iter();
        let hosts = rules.map(|rule| rule.get("host").and_then(Node::text).unwrap_or_default());
        let (hosts, without_host): (Vec<_>, Vec<_>) = hosts.partition(|host| !host.is_empty());
        let default_backend = document.get_path(&["spec", "defaultBackend"]);
        Self {
            line,
            namespace: text(&["metadata", "namespace"]),
            name: text(&["metadata", "name"]),
            annotations: annotations
                .map(|(key, line, value)| (key, line, value.text().unwrap_or_default()))
                .collect(),
            serves_every_host: hosts.is_empty()
                || !without_host.is_empty()
                || default_backend.is_some(),
            hosts,
        }
    }

    /// Returns the namespace and the name for a message.
    pub(super) fn title(&self) -> String {
        let name = self.name.unwrap_or("without a name");
        match self.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }
}

/// Calls `visit` for each Ingress of a document, also inside lists. Returns the number of other objects.
pub(super) fn visit<'a>(document: &'a Node, visit: &mut impl FnMut(Ingress<'a>)) -> usize {
    visit_object(document, "", visit)
}

/// `list_kind` is the kind of the items of a list, which leave it out.
fn visit_object<'a>(
    document: &'a Node,
    list_kind: &str,
    visit: &mut impl FnMut(Ingress<'a>),
) -> usize {
    let kind = document.get("kind");
    let (line, kind) = match kind.and_then(|kind| Some((kind.line, kind.text()?))) {
        Some(kind) => kind,
        // An empty document, such as a comment after the last separator.
        None if document
            .text()
            .is_some_and(|text| matches!(text, "" | "~" | "null")) =>
        {
            return 0;
        }
        None => (document.line, list_kind),
    };
    let api = document.get("apiVersion").and_then(Node::text);
    let group = api.map_or("networking.k8s.io", |api| {
        api.split('/').next().unwrap_or(api)
    });
    if kind == "Ingress" && matches!(group, "networking.k8s.io" | "extensions") {
        visit(Ingress::of(document, line));
        return 0;
    }
    match (kind.strip_suffix("List"), document.get("items")) {
        (Some(item_kind), Some(items)) => {
            let items = items.items().iter();
            items.map(|item| visit_object(item, item_kind, visit)).sum()
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml_node;

    #[test]
    fn finds_ingresses_in_documents_and_lists() {
        let yaml = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a, namespace: x}
spec: {rules: [{host: a.com}, {host: b.com}]}
---
# Only a comment.
---
apiVersion: v1
kind: List
items:
- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: b}, spec: {rules: [{host: a.com}, {http: {}}]}}
- {apiVersion: v1, kind: Service, metadata: {name: c}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressList, items: [{metadata: {name: d}, spec: {defaultBackend: {}}}]}
---
{apiVersion: config.openshift.io/v1, kind: Ingress, metadata: {name: e}}
---
{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {generateName: f-}, spec: {rules: [{host: a.com}]}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}}
";
        let documents = yaml_node::parse(yaml).unwrap();
        let mut found = Vec::new();
        let mut add = |it: Ingress<'_>| {
            found.push((it.line, it.title(), it.hosts.len(), it.serves_every_host));
        };
        let others: usize = documents.iter().map(|it| visit(it, &mut add)).sum();
        assert_eq!(others, 3);
        let expected = [
            (3, "x/a", 2, false),
            (12, "b", 1, true),
            (15, "d", 0, true),
            (19, "without a name", 1, false),
        ];
        let expected =
            expected.map(|(line, title, hosts, every)| (line, title.to_owned(), hosts, every));
        assert_eq!(found, expected);
    }
}
