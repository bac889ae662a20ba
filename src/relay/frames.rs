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
    frame: FrameHeader,
    /// The number of bytes that are missing from the payload of the current frame.
    payload_left: u64,
    is_invalid: bool,
    has_closed: bool,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// The first byte: the final bit, three bits of extensions, and the opcode.
    first: u8,
    /// The masking key; zeros for a frame without a mask.
    mask: [u8; 4],
    /// The number of bytes of the payload.
    pub length: u64,
}

impl FrameHeader {
    /// Whether the frame has data: a text, a binary message, or a continuation of one.
    #[must_use]
    pub const fn is_data(self) -> bool {
        self.opcode() <= MAX_DATA_OPCODE
    }

    /// Whether the frame continues the message of the frame before it.
    #[must_use]
    pub const fn is_continuation(self) -> bool {
        self.opcode() == 0
    }

    /// Whether the frame is the last one of its message.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.first & 0x80 != 0
    }

    /// Whether an extension has changed the payload, such as a compression.
    #[must_use]
    pub const fn uses_extension(self) -> bool {
        self.first & 0x70 != 0
    }

    const fn opcode(self) -> u8 {
        self.first & 0x0f
    }

    /// Unmasks bytes of the payload. `offset` is their position in the payload.
    pub fn unmask(self, offset: u64, bytes: &[u8]) -> impl Iterator<Item = u8> {
        let key = self.mask.into_iter().cycle().skip((offset % 4) as usize);
        bytes.iter().zip(key).map(|(byte, key)| byte ^ key)
    }
}

/// A part of a frame.
#[derive(Debug)]
pub struct FramePart<'a> {
    /// The header of the frame.
    pub header: FrameHeader,
    /// The position of `payload` in the payload of the frame.
    pub offset: u64,
    /// The bytes as the client sent them, possibly masked. Empty for a frame without a payload.
    pub payload: &'a [u8],
}

impl FramePart<'_> {
    /// Whether the frame ends with this part.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.offset + self.payload.len() as u64 == self.header.length
    }
}

impl FrameScanner {
    /// Reads the next bytes of the direction. Calls `visit` with each frame without a payload, and with each part of a
    /// payload.
    pub fn scan(&mut self, mut bytes: &[u8], mut visit: impl FnMut(FramePart<'_>)) {
        while !bytes.is_empty() && !self.is_invalid {
            if self.payload_left > 0 {
                let length = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                let (payload, rest) = bytes.split_at(length);
                visit(FramePart {
                    header: self.frame,
                    offset: self.frame.length - self.payload_left,
                    payload,
                });
                self.payload_left -= length as u64;
                bytes = rest;
                continue;
            }
            self.header[self.header_length] = bytes[0];
            self.header_length += 1;
            bytes = &bytes[1..];
            if self.header_length == self.expected_header_length() {
                self.begin_payload();
                if self.payload_left == 0 {
                    visit(FramePart {
                        header: self.frame,
                        offset: 0,
                        payload: &[],
                    });
                }
            }
        }
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

    /// Begins the payload after a complete header.
    fn begin_payload(&mut self) {
        let [first, second, rest @ ..] = self.header;
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 => {
                let [a, b, c, d, e, f, g, h, ..] = rest;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            mask.copy_from_slice(&self.header[self.header_length - 4..self.header_length]);
        }
        self.frame = FrameHeader {
            first,
            mask,
            length,
        };
        self.payload_left = length;
        self.header_length = 0;
        self.is_invalid = length > i64::MAX as u64;
        self.has_closed |= self.frame.opcode() == CLOSE;
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
