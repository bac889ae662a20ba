//! Colours where somebody looks: not in a file or a pipe, and not with `NO_COLOR` set
//! (<https://no-color.org>).

use anstyle::{AnsiColor, Style};

/// What is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What somebody should look at.
pub(super) const LOOK: Style = AnsiColor::Yellow.on_default();

/// Words in a style, for a stream that takes the style away where there is nobody to see it.
pub(super) fn painted(style: Style, words: &str) -> String {
    format!("{style}{words}{style:#}")
}
