//! The message and the fields of an event in the human log format.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::escape;

/// Writes `message name=value name="a value"`. A value or message cannot look like another field.
pub(super) struct HumanFields;

impl<'w> FormatFields<'w> for HumanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = LineWriter {
            writer,
            separator: "",
            written: Ok(()),
        };
        fields.record(&mut line);
        line.written
    }
}

struct LineWriter<'w> {
    writer: Writer<'w>,
    separator: &'static str,
    written: fmt::Result,
}

impl LineWriter<'_> {
    fn write_field(&mut self, field: &Field, value: &str) {
        // Fields of the crate `log` are already in the line.
        if self.written.is_err() || field.name().starts_with("log.") {
            return;
        }
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let separator = std::mem::replace(&mut self.separator, " ");
        self.written = match (name, self.writer.has_ansi_escapes()) {
            ("message", _) => write!(self.writer, "{separator}{value}"),
            (_, true) => write!(
                self.writer,
                "{separator}\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"
            ),
            (_, false) => write!(self.writer, "{separator}{name}={value}"),
        };
    }
}

impl Visit for LineWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.write_field(field, &escape::quoted(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" && !text.contains('=') {
            self.write_field(field, &escape::line(&text));
        } else {
            self.write_field(field, &escape::value(&text));
        }
    }
}
