//! A client that writes HTTP/2 frames itself, because a library refuses to send invalid requests (RFC 9113).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Returns the bytes of a connection with one request.
pub fn request(headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, 4, 0, 0, &[]);
    let mut block = Vec::new();
    for (name, value) in headers {
        // A literal that is not indexed, without Huffman encoding (RFC 7541, section 6.2.2).
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    let end = if body.is_empty() { END_STREAM } else { 0 };
    frame(&mut bytes, 1, END_HEADERS | end, 1, &block);
    if !body.is_empty() {
        frame(&mut bytes, 0, END_STREAM, 1, body);
    }
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// Writes a string with its length as an integer with a prefix of seven bits (RFC 7541, section 5.1).
fn string(block: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend(text);
}
