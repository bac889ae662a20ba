//! Headers of WebSocket frames (RFC 6455, section 5.2).

/// The longest header of a frame: 2 bytes, a length of 8 bytes, and a masking key of 4 bytes.
const MAX_HEADER_BYTES: usize = 14;

/// The opcodes of frames with data: continuation, text and binary.
const MAX_DATA_OPCODE: u8 = 2;
/// The opcode of a Close frame.
const CLOSE: u8 = 8;
/// The status code of a Close frame for a peer that violates a policy (RFC 6455, section 7.4.1).
const POLICY_VIOLATION: u16 = 1008;

/// Follows the frames of one direction of a WebSocket. It reads only headers: the payload passes untouched, with any
/// extension.
///
/// A header that announces more than 2^63 bytes is invalid. After such a header, the scanner cannot find a boundary any
/// more. The bytes still pass, so that the receiver rejects them itself.
#[derive(Clone, Debug, Default)]
pub struct FrameScanner {
    header: [u8; MAX_HEADER_BYTES],
    header_length: usize,
    /// The number of bytes that are missing from the payload of the current frame.
    payload_left: u64,
    is_data: bool,
    is_invalid: bool,
    has_closed: bool,
}

impl FrameScanner {
    /// Reads the next bytes of the direction. Returns whether they contain a data frame or a part of one.
    pub fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = false;
        while !bytes.is_empty() && !self.is_invalid {
            if self.payload_left > 0 {
                let length = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                has_data |= self.is_data;
                self.payload_left -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            self.header[self.header_length] = bytes[0];
            self.header_length += 1;
            bytes = &bytes[1..];
            if self.header_length == self.expected_header_length() {
                has_data |= self.begin_payload();
            }
        }
        has_data
    }

    /// Returns whether the next byte begins a frame.
    #[must_use]
    pub const fn is_at_boundary(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0 && !self.is_invalid
    }

    /// Returns whether a Close frame has passed, after which no frame may follow (RFC 6455, section 5.5.1).
    #[must_use]
    pub const fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Returns how many bytes the caller may read without passing the next boundary. The result is 0 at a boundary. If
    /// the header is incomplete, the result is a lower bound.
    #[must_use]
    pub fn bytes_to_boundary(&self) -> usize {
        if self.header_length > 0 {
            return self.expected_header_length() - self.header_length;
        }
        usize::try_from(self.payload_left).unwrap_or(usize::MAX)
    }

    /// The length of the header, as far as the bytes of the header show.
    fn expected_header_length(&self) -> usize {
        if self.header_length < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    /// Begins the payload after a complete header. Returns whether the frame has data.
    fn begin_payload(&mut self) -> bool {
        let [first, second, rest @ ..] = self.header;
        self.payload_left = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 => {
                let [a, b, c, d, e, f, g, h, ..] = rest;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            short => u64::from(short),
        };
        self.header_length = 0;
        self.is_invalid = self.payload_left > i64::MAX as u64;
        let opcode = first & 0x0f;
        self.is_data = opcode <= MAX_DATA_OPCODE;
        self.has_closed |= opcode == CLOSE;
        self.is_data
    }
}

/// Returns a Close frame with the status 1008 and this reason. `mask` is the masking key: a client must mask its
/// frames, and a server must not (RFC 6455, section 5.1).
#[must_use]
pub fn close_frame(reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    // A control frame has at most 125 bytes of payload, and 2 of them are the status.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let mut payload = POLICY_VIOLATION.to_be_bytes().to_vec();
    payload.extend_from_slice(reason);
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x80 | CLOSE, mask_bit | payload.len() as u8];
    if let Some(mask) = mask {
        frame.extend_from_slice(&mask);
        let key = mask.iter().cycle();
        payload
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
    }
    frame.extend_from_slice(&payload);
    frame
}

#[cfg(test)]
mod tests;
