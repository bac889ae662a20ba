//! HTML escaping for templates.

use std::fmt::{self, Write};

use crate::escape::html;

/// The HTML escaper of the templates: escapes every value that a template shows.
#[derive(Clone, Copy, Debug)]
pub struct Html;

impl askama::filters::Escaper for Html {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        dest.write_str(&html(text))
    }
}
