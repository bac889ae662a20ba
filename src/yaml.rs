//! What YAML can be made to do to whoever reads it: parsers go as deep as the text does, and aliases make more of it than
//! there is.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};

/// The deepest nesting.
pub const DEEPEST: usize = 100;
/// The most nodes of a text, with those that aliases repeat.
pub const MOST: usize = 1_000_000;

/// A text that is no YAML, or too much of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no YAML.
    #[error("line {line}: {message}")]
    Malformed {
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// More than [`DEEPEST`] levels.
    #[error("line {0}: nested more than {DEEPEST} levels deep")]
    Deep(usize),
    /// More than [`MOST`] nodes.
    #[error("line {0}: aliases make more than {MOST} nodes of it")]
    Large(usize),
}

/// Looks whether a text can be read by a parser that trusts it.
///
/// # Errors
/// [`Unreadable`], with the line.
pub fn check(text: &str) -> Result<(), Unreadable> {
    let mut parser = Parser::new_from_str(text);
    let mut count = Count::default();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| Unreadable::Malformed {
            line: error.marker().line(),
            message: error.info().to_owned(),
        })?;
        match event {
            Event::StreamEnd => return Ok(()),
            Event::Scalar(_, _, anchor, _) => count.add(1, anchor),
            Event::Alias(anchor) => count.add(count.of(anchor), 0),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                count.open.push((anchor, count.nodes));
            }
            Event::SequenceEnd | Event::MappingEnd => count.close(),
            Event::Nothing | Event::StreamStart | Event::DocumentStart | Event::DocumentEnd => {}
        }
        if count.open.len() > DEEPEST {
            return Err(Unreadable::Deep(mark.line()));
        }
        if count.nodes > MOST {
            return Err(Unreadable::Large(mark.line()));
        }
    }
}

/// How many nodes there are.
#[derive(Default)]
struct Count {
    nodes: usize,
    /// The anchor of each collection that goes on, and how many nodes there were before it.
    open: Vec<(usize, usize)>,
    /// How many nodes each anchor stands for.
    anchored: HashMap<usize, usize>,
}

impl Count {
    fn add(&mut self, nodes: usize, anchor: usize) {
        self.nodes = self.nodes.saturating_add(nodes);
        self.anchored.insert(anchor, nodes);
    }

    fn close(&mut self) {
        if let Some((anchor, before)) = self.open.pop() {
            self.nodes = self.nodes.saturating_add(1);
            self.anchored.insert(anchor, self.nodes - before);
        }
    }

    fn of(&self, anchor: usize) -> usize {
        self.anchored.get(&anchor).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_or_large_is_refused_where_it_begins_to_be() {
        let deep = |levels: usize| -> String {
            (0..levels)
                .map(|level| format!("{}a:\n", " ".repeat(level)))
                .collect()
        };
        assert_eq!(check(&deep(DEEPEST)), Ok(()));
        assert_eq!(
            check(&deep(50_000.min(DEEPEST * 20))),
            Err(Unreadable::Deep(DEEPEST + 1))
        );
        let list = "- ".repeat(100_000);
        assert_eq!(check(&list), Err(Unreadable::Deep(1)));
        assert!(check(&"[".repeat(100_000)).is_err());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert_eq!(check(&laughs), Err(Unreadable::Large(7)));
        assert_eq!(check("a: &a [1, 2]\nb: [*a, *a]\n"), Ok(()));
        assert!(matches!(check("a: [\n"), Err(Unreadable::Malformed { .. })));
    }
}
