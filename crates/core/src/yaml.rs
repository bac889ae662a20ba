//! Limits for untrusted YAML. Deep nesting would use too much stack, and expanded aliases would use too much memory.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};

/// The maximum nesting depth, in levels.
pub const MAX_NESTING_LEVELS: usize = 100;
/// The maximum estimated memory of a document with expanded aliases, in bytes.
pub const MAX_EXPANDED_BYTES: usize = 64 << 20;
/// The estimated memory of a node without its text, in bytes.
const NODE_BYTES: usize = 64;

/// The reason why a document is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// The text is not valid YAML.
    #[error("line {line}: {message}")]
    Malformed {
        /// The line of the error, counted from 1.
        line: usize,
        /// The parser's description.
        message: String,
    },
    /// The nesting exceeds [`MAX_NESTING_LEVELS`]. The value is the line, counted from 1.
    #[error("line {0}: the YAML is nested more than {MAX_NESTING_LEVELS} levels deep")]
    TooDeep(usize),
    /// The expanded document exceeds [`MAX_EXPANDED_BYTES`]. The value is the line, counted from 1.
    #[error("line {0}: the YAML has more than 64 MiB after the expansion of its aliases")]
    TooLarge(usize),
}

/// Verifies that a parser without limits can safely load a document.
///
/// # Errors
/// [`YamlError`] with the line, counted from 1.
pub fn check(text: &str) -> Result<(), YamlError> {
    let mut parser = Parser::new_from_str(text);
    let mut budget = YamlBudget::default();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| YamlError::Malformed {
            line: error.marker().line(),
            message: error.info().to_owned(),
        })?;
        match event {
            Event::StreamEnd => return Ok(()),
            Event::Scalar(text, _, anchor, _) => budget.add(NODE_BYTES + text.len(), anchor),
            Event::Alias(anchor) => budget.add(budget.expanded_size(anchor), 0),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                budget.open_collections.push((anchor, budget.bytes));
            }
            Event::SequenceEnd | Event::MappingEnd => budget.close(),
            Event::Nothing | Event::StreamStart | Event::DocumentStart | Event::DocumentEnd => {}
        }
        if budget.open_collections.len() > MAX_NESTING_LEVELS {
            return Err(YamlError::TooDeep(mark.line()));
        }
        if budget.bytes > MAX_EXPANDED_BYTES {
            return Err(YamlError::TooLarge(mark.line()));
        }
    }
}

/// The estimated size of the document so far.
#[derive(Default)]
struct YamlBudget {
    bytes: usize,
    /// For each open collection: its anchor, and the size of the document before the collection, in bytes.
    open_collections: Vec<(usize, usize)>,
    /// The expanded size of each anchor, in bytes.
    anchor_bytes: HashMap<usize, usize>,
}

impl YamlBudget {
    /// Adds a node. A node with an anchor counts twice, because the parser keeps a copy for its aliases.
    fn add(&mut self, bytes: usize, anchor: usize) {
        let copies = if anchor > 0 { 2 } else { 1 };
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(copies));
        self.anchor_bytes.insert(anchor, bytes);
    }

    /// Ends the innermost open collection, and adds it as a node.
    fn close(&mut self) {
        if let Some((anchor, before)) = self.open_collections.pop() {
            let bytes = self.bytes - before + NODE_BYTES;
            self.bytes = before;
            self.add(bytes, anchor);
        }
    }

    /// The expanded size of the node with this anchor, in bytes.
    fn expanded_size(&self, anchor: usize) -> usize {
        self.anchor_bytes
            .get(&anchor)
            .copied()
            .unwrap_or(NODE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_deep_or_large_documents_at_the_right_line() {
        let deep = |levels: usize| -> String {
            (0..levels)
                .map(|level| format!("{}a:\n", " ".repeat(level)))
                .collect()
        };
        assert_eq!(check(&deep(MAX_NESTING_LEVELS)), Ok(()));
        assert_eq!(
            check(&deep(50_000.min(MAX_NESTING_LEVELS * 20))),
            Err(YamlError::TooDeep(MAX_NESTING_LEVELS + 1))
        );
        let list = "- ".repeat(100_000);
        assert_eq!(check(&list), Err(YamlError::TooDeep(1)));
        assert!(check(&"[".repeat(100_000)).is_err());
        let mut billion_laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            billion_laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(matches!(
            check(&billion_laughs),
            Err(YamlError::TooLarge(_))
        ));
        // A long scalar with many aliases, and nested lists with anchors.
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(10_000),
            "*a, ".repeat(10_000)
        );
        assert_eq!(check(&long), Err(YamlError::TooLarge(2)));
        let nested: String = (1..95).map(|level| format!("&a{level} [")).collect();
        let nested = format!(
            "b: &b [{}]\na: {nested}{}{}\n",
            "x, ".repeat(10_000),
            "*b, ".repeat(5),
            "]".repeat(94)
        );
        assert_eq!(check(&nested), Err(YamlError::TooLarge(2)));
        assert_eq!(check("a: &a [1, 2]\nb: [*a, *a]\n"), Ok(()));
        assert!(matches!(check("a: [\n"), Err(YamlError::Malformed { .. })));
    }
}
