//! YAML documents whose nodes know their lines.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

use crate::yaml::{YamlError, check};

/// A YAML node, with its line number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Value {
    #[default]
    Nothing,
    Text(String),
    List(Vec<Node>),
    /// The entries: the key, the line number of the key, and the value.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    /// Returns the value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .find(|(name, ..)| *name == key)
            .map(|it| it.2)
    }

    /// Returns the value at a path of keys.
    pub(crate) fn get_path(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Returns the keys, line numbers and values; empty if this is not a map.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, usize, &Self)> {
        let entries = match &self.value {
            Value::Map(entries) => &entries[..],
            _ => &[],
        };
        entries
            .iter()
            .map(|(key, line, node)| (key.as_str(), *line, node))
    }

    /// Returns the items; empty if this is not a list.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.text() == Some(text)
    }

    /// Calls the function `visit` for every key at any depth, with the line number and the value of the key.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a str, usize, &'a Self)) {
        for (key, line, node) in self.entries() {
            visit(key, line, node);
            node.walk(visit);
        }
        for item in self.items() {
            item.walk(visit);
        }
    }

    /// Calls the function `visit` for every scalar that is not a key.
    pub(crate) fn walk_scalars<'a>(&'a self, visit: &mut impl FnMut(usize, &'a str)) {
        if let Some(text) = self.text() {
            visit(self.line, text);
        }
        for (.., node) in self.entries() {
            node.walk_scalars(visit);
        }
        for item in self.items() {
            item.walk_scalars(visit);
        }
    }
}

/// Parses the documents of a file.
///
/// # Errors
/// [`YamlError`] if the text is not valid YAML, is nested too deep or is too large.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    check(text)?;
    let mut builder = DocumentBuilder::default();
    let loaded = Parser::new_from_str(text).load(&mut builder, true);
    loaded.map_err(|error| YamlError::Malformed {
        line: error.marker().line(),
        message: error.info().to_owned(),
    })?;
    Ok(builder.documents)
}

/// Builds documents from parser events.
#[derive(Default)]
struct DocumentBuilder {
    documents: Vec<Node>,
    open_collections: Vec<OpenCollection>,
    anchors: HashMap<usize, Node>,
}

/// A list or map that is not complete yet, and its anchor. The third part is the key that still needs a value, with the
/// line number of the key.
type OpenCollection = (Node, usize, Option<(String, usize)>);

impl DocumentBuilder {
    fn open_collection(&mut self, value: Value, anchor: usize, line: usize) {
        self.open_collections
            .push((Node { line, value }, anchor, None));
    }

    fn close_collection(&mut self) {
        if let Some((node, anchor, _)) = self.open_collections.pop() {
            self.push_node(node, anchor);
        }
    }

    fn push_node(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some((parent, _, key)) = self.open_collections.last_mut() else {
            self.documents.push(node);
            return;
        };
        match (&mut parent.value, key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((name, line))) => entries.push((name, line, node)),
            (Value::Map(_), None) => {
                let name = node.text().unwrap_or_default().to_owned();
                *key = Some((name, node.line));
            }
            (Value::Nothing | Value::Text(_), _) => {}
        }
    }
}

impl MarkedEventReceiver for DocumentBuilder {
    fn on_event(&mut self, event: Event, mark: Marker) {
        let line = mark.line();
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let value = Value::Text(text);
                self.push_node(Node { line, value }, anchor);
            }
            Event::SequenceStart(anchor, _) => {
                self.open_collection(Value::List(Vec::new()), anchor, line)
            }
            Event::MappingStart(anchor, _) => {
                self.open_collection(Value::Map(Vec::new()), anchor, line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close_collection(),
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                self.push_node(target.unwrap_or_default(), 0);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => {}
        }
    }
}
