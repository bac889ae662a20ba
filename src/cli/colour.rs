//! Colours for terminals. Output has no colours if it goes to a file or a pipe, or if `NO_COLOR` is set
//! (<https://no-color.org>).

use anstyle::{AnsiColor, Style};

/// The style of a success.
pub(super) const PASSED_STYLE: Style = AnsiColor::Green.on_default();
/// The style of a failure or an error.
pub(super) const FAILED_STYLE: Style = AnsiColor::Red.on_default().bold();
/// The style of a finding that is not an error.
pub(super) const NOTICE_STYLE: Style = AnsiColor::Yellow.on_default();

/// Returns the text in a style. The output stream removes the style if it is not a terminal.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
