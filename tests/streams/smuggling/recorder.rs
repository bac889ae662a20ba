//! An application that records the bytes of each connection, and a parser that accepts only requests with one meaning.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A connection on which nothing arrives for this time has sent its request.
pub const SILENCE: Duration = Duration::from_secs(2);

pub struct Recorder {
    pub address: SocketAddr,
    connections: Arc<Mutex<JoinSet<Vec<u8>>>>,
}

impl Recorder {
    /// Starts the application. It answers each connection once with 200, and closes it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.lock().unwrap().spawn(record(stream));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Waits until all connections have ended. Returns the bytes of each connection with a request.
    pub async fn finish(&self) -> Vec<Vec<u8>> {
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        let mut all = connections.join_all().await;
        all.retain(|bytes| !bytes.is_empty());
        all
    }
}

/// Reads until the silence, and then answers.
async fn record(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let reading = stream.read(&mut buffer);
        match tokio::time::timeout(SILENCE, reading).await {
            Ok(Ok(length)) if length > 0 => bytes.extend(&buffer[..length]),
            _ => break,
        }
    }
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let _ = stream.write_all(answer.as_bytes()).await;
    bytes
}

/// Parses the requests of a connection. Returns the method and the target of each. An incomplete last body is allowed,
/// because Curfew closes the connection after an invalid body.
///
/// # Errors
/// The first part that two servers could read in different ways (RFC 9112, sections 2.2, 3, 5 and 6).
pub fn parse_strictly(mut bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let end = find(bytes, b"\r\n\r\n").ok_or("a head without an end")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not UTF-8")?;
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let parts: Vec<_> = line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = parts[..] else {
            return Err(format!("a request line with another form: {line:?}"));
        };
        let (mut length, mut is_chunked, mut hosts) = (None, false, 0);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("no colon: {line:?}"))?;
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(format!("an invalid name: {line:?}"));
            }
            let value = value.trim_matches([' ', '\t']);
            if value
                .bytes()
                .any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f)
            {
                return Err(format!("a control character: {line:?}"));
            }
            match &*name.to_ascii_lowercase() {
                "content-length" => {
                    let digits = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
                    if length.is_some() || !digits {
                        return Err(format!("an ambiguous length: {line:?}"));
                    }
                    length = Some(value.parse::<usize>().map_err(|error| error.to_string())?);
                }
                "transfer-encoding" if !is_chunked && value == "chunked" => is_chunked = true,
                "transfer-encoding" => return Err(format!("an ambiguous encoding: {line:?}")),
                "host" => hosts += 1,
                _ => {}
            }
        }
        if hosts != 1 || (is_chunked && length.is_some()) {
            return Err("not exactly one host, or two lengths".to_owned());
        }
        requests.push(format!("{method} {target}"));
        bytes = if is_chunked {
            skip_chunks(bytes)?
        } else {
            bytes.get(length.unwrap_or(0)..).unwrap_or_default()
        };
    }
    Ok(requests)
}

fn skip_chunks(mut bytes: &[u8]) -> Result<&[u8], String> {
    loop {
        let Some(end) = find(bytes, b"\r\n") else {
            return Ok(&[]);
        };
        let size = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        let is_hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(format!("an ambiguous chunk size: {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|error| error.to_string())?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            // The trailers end with an empty line.
            if let Some(rest) = bytes.strip_prefix(b"\r\n") {
                return Ok(rest);
            }
            let end = find(bytes, b"\r\n\r\n");
            return Ok(end.map_or(&[], |end| &bytes[end + 4..]));
        }
        let Some(rest) = bytes.get(size..) else {
            return Ok(&[]);
        };
        bytes = rest
            .strip_prefix(b"\r\n")
            .ok_or("a chunk with another length")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[test]
fn the_parser_refuses_requests_with_two_meanings() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\n";
    for (rest, expected) in [
        ("\r\n", Ok(1)),
        ("Content-Length: 2\r\n\r\nab", Ok(1)),
        (
            "Content-Length: 2\r\n\r\nabGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Ok(2),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Ok(2),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Ok(2),
        ),
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", Err(())),
        ("Content-Length: +2\r\n\r\nab", Err(())),
        (
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Err(()),
        ),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Err(())),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Err(())),
        (
            "Transfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n",
            Err(()),
        ),
        ("x: a\nb: c\r\n\r\n", Err(())),
        ("Host: b\r\n\r\n", Err(())),
    ] {
        let parsed = parse_strictly([head, rest].concat().as_bytes());
        assert_eq!(
            parsed.map(|it| it.len()).map_err(|_| ()),
            expected,
            "{rest:?}"
        );
    }
}
