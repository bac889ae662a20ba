//! The fuzz target for the frames of a WebSocket.

use super::frames::{FrameHeader, FrameScanner};
use super::messages::ClientMessages;
use crate::policy::MAX_HEARTBEAT_BYTES;

/// A frame: its header, and as much of its payload as has arrived.
type Frame = (FrameHeader, Vec<u8>);

/// Reads frames. The first byte of `data` is the size of the chunks. Panics if the scanner finds other frames in chunks
/// than in the whole text, if it finds other frames than a simple reader, or if it keeps too many bytes.
pub fn frames(data: &[u8]) {
    let Some((chunk, bytes)) = data.split_first() else {
        return;
    };
    let chunk = usize::from(*chunk).max(1);
    let (whole, in_chunks) = (scan(bytes, bytes.len().max(1)), scan(bytes, chunk));
    assert_eq!(whole.0, in_chunks.0);
    assert_eq!(whole.1.is_at_boundary(), in_chunks.1.is_at_boundary());
    assert_eq!(whole.1.has_closed(), in_chunks.1.has_closed());
    let expected = read_frames(bytes);
    let found: Vec<_> = whole
        .0
        .iter()
        .map(|(header, it)| (header.length, it.clone()))
        .collect();
    assert_eq!(found, expected);

    let is_heartbeat = |message: &[u8]| message.len() == 1;
    let count = |chunk: usize| {
        let mut messages = ClientMessages::default();
        let mut counts = false;
        for bytes in bytes.chunks(chunk) {
            counts |= messages.scan(bytes, Some(is_heartbeat));
            assert!(messages.kept_bytes() <= MAX_HEARTBEAT_BYTES);
        }
        counts
    };
    assert_eq!(count(bytes.len().max(1)), count(chunk));
    stop_at_boundary(bytes, chunk);
}

/// Scans the bytes in chunks. Returns the frames, and the scanner.
fn scan(bytes: &[u8], chunk: usize) -> (Vec<Frame>, FrameScanner) {
    let mut scanner = FrameScanner::default();
    let mut frames: Vec<Frame> = Vec::new();
    for bytes in bytes.chunks(chunk) {
        scanner.scan(bytes, |part| {
            if part.offset == 0 {
                frames.push((part.header, Vec::new()));
            }
            if let Some((header, payload)) = frames.last_mut() {
                assert_eq!(*header, part.header);
                assert_eq!(payload.len() as u64, part.offset);
                payload.extend(part.payload);
            }
        });
    }
    (frames, scanner)
}

/// Asserts that a caller who reads only the announced bytes stops at a boundary.
fn stop_at_boundary(bytes: &[u8], begun: usize) {
    let mut scanner = FrameScanner::default();
    let mut position = begun.min(bytes.len());
    scanner.scan(&bytes[..position], |_| ());
    while !scanner.is_at_boundary() && position < bytes.len() {
        let length = scanner.bytes_to_boundary().min(bytes.len() - position);
        if length == 0 {
            // The length of the frame is invalid, so there is no boundary.
            return;
        }
        let mut ended = 0;
        let next = &bytes[position..position + length];
        scanner.scan(next, |part| ended += usize::from(part.is_last()));
        assert!(ended <= 1, "the caller passed a boundary");
        assert!(ended == 0 || scanner.is_at_boundary());
        position += length;
    }
}

/// Reads the length and the payload of each frame, as RFC 6455, section 5.2 says. The last payload can be incomplete. A
/// frame whose payload has not begun is not returned, and no frame after an invalid length.
fn read_frames(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [_, second, rest @ ..] = bytes {
        let (length, rest) = match second & 0x7f {
            126 => match rest {
                [a, b, rest @ ..] => (u64::from(u16::from_be_bytes([*a, *b])), rest),
                _ => break,
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => break,
            },
            short => (u64::from(short), rest),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let Some(payload) = rest.get(mask..) else {
            break;
        };
        if length > i64::MAX as u64 || (payload.is_empty() && length > 0) {
            break;
        }
        let arrived = usize::try_from(length).map_or(payload.len(), |it| it.min(payload.len()));
        frames.push((length, payload[..arrived].to_vec()));
        bytes = &payload[arrived..];
    }
    frames
}
