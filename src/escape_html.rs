//! HTML escaping for templates.

use std::fmt::{self, Write};

use crate::escape::html;

/// Escapes every text in a template.
#[derive(Clone, Copy, Debug)]
pub struct Html;

impl askama::filters::Escaper for Html {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        dest.write_str(&html(text))
    }
}
