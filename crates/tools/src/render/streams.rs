//! The lines of the files of `deploy/` that send streams to Curfew's proxy listener. They are comments.

use super::{AnchorError, Proxy};

/// The comment before the commented lines for streams.
const MARKER: &str = "To end streams with their session, send them to Curfew's proxy listener:";

/// Makes the lines for streams effective.
pub(super) fn send_streams_to_curfew(
    proxy: Proxy,
    name: &str,
    text: &str,
) -> Result<String, AnchorError> {
    match (proxy, name) {
        (Proxy::Nginx, "curfew.conf") => {
            const ANCHOR: &str =
                "        proxy_pass http://application;\n        proxy_http_version";
            if text.matches(ANCHOR).count() != 1 {
                return Err(AnchorError(ANCHOR));
            }
            Ok(text.replace(ANCHOR, &ANCHOR.replace("application", "$stream_upstream")))
        }
        (Proxy::Nginx | Proxy::IngressNginx | Proxy::Oauth2Proxy, _)
        | (_, "curfew-spoe.conf" | "traefik.yaml") => Ok(text.to_owned()),
        _ if text.contains(MARKER) => {
            Ok(uncomment(text, MARKER).replace(MARKER, "Curfew ends streams with their session:"))
        }
        _ => Err(AnchorError(MARKER)),
    }
}

/// Removes the comment sign from the lines after each comment with the text `marker`, until the next line that is not a
/// comment.
#[must_use]
pub fn uncomment(text: &str, marker: &str) -> String {
    let mut is_after_marker = false;
    let lines = text.lines().map(|line| {
        let comment = line.trim_start().strip_prefix("# ");
        if comment == Some(marker) {
            is_after_marker = true;
            return line.to_owned();
        }
        is_after_marker &= comment.is_some();
        match comment {
            Some(comment) if is_after_marker => {
                let indentation = &line[..line.len() - line.trim_start().len()];
                format!("{indentation}{comment}")
            }
            _ => line.to_owned(),
        }
    });
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}
