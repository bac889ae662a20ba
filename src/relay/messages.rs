//! Messages of a WebSocket that count as activity.

use super::frames::{FramePart, FrameScanner};
use crate::policy::MAX_HEARTBEAT_BYTES;

/// Follows the messages from the client. It keeps at most the bytes of one message that can be a heartbeat.
#[derive(Debug, Default)]
pub(super) struct ClientMessages {
    pub(super) frames: FrameScanner,
    /// The unmasked bytes of the current message.
    message: Vec<u8>,
    /// Whether the current message counts, whatever follows.
    counts: bool,
}

impl ClientMessages {
    /// Returns the number of bytes that are kept.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn kept_bytes(&self) -> usize {
        self.message.len()
    }

    /// Reads the next bytes from the client. Returns whether they contain data that counts as activity: a part of a long
    /// or compressed message, or the end of a short message that is not a heartbeat. With `is_heartbeat = None`, all data
    /// counts.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        is_heartbeat: Option<impl Fn(&[u8]) -> bool>,
    ) -> bool {
        let mut counts = false;
        let Self {
            frames,
            message,
            counts: message_counts,
        } = self;
        frames.scan(bytes, |part| {
            if !part.header.is_data() {
                return;
            }
            counts |= match &is_heartbeat {
                None => true,
                Some(is_heartbeat) => {
                    read_part(&part, message, message_counts);
                    let has_ended = part.is_last() && part.header.is_final();
                    *message_counts || (has_ended && !is_heartbeat(message))
                }
            };
        });
        counts
    }
}

/// Adds a part of a frame to its message. Sets `counts` if the message cannot be a heartbeat.
fn read_part(part: &FramePart<'_>, message: &mut Vec<u8>, counts: &mut bool) {
    let header = part.header;
    if part.offset == 0 {
        if !header.is_continuation() {
            message.clear();
            *counts = false;
        }
        let length = (message.len() as u64).saturating_add(header.length);
        *counts |= header.uses_extension() || length > MAX_HEARTBEAT_BYTES as u64;
    }
    if *counts {
        *message = Vec::new();
    } else {
        message.extend(header.unmask(part.offset, part.payload));
    }
}

#[cfg(test)]
mod tests;
