//! A SPOP peer that encodes valid and invalid frames by hand (HAProxy's `doc/SPOE.txt`, section 3).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const HAPROXY_HELLO: u8 = 1;
pub const HAPROXY_DISCONNECT: u8 = 2;
pub const NOTIFY: u8 = 3;
pub const AGENT_HELLO: u8 = 101;
pub const AGENT_DISCONNECT: u8 = 102;
pub const ACK: u8 = 103;

/// A SPOP value. The variants are the types that these tests use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    True,
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
}

pub fn text_value(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub fn write_varint(mut number: u64, output: &mut Vec<u8>) {
    if number < 240 {
        output.push(u8::try_from(number).unwrap());
        return;
    }
    output.push(u8::try_from(number & 0x0f).unwrap() | 0xf0);
    number = (number - 240) >> 4;
    while number >= 128 {
        output.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number = (number - 128) >> 7;
    }
    output.push(u8::try_from(number).unwrap());
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut take = || {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        u64::from(*first)
    };
    let mut number = take();
    if number < 240 {
        return number;
    }
    let mut shift = 4;
    loop {
        let next = take();
        number += next << shift;
        shift += 7;
        if next < 128 {
            return number;
        }
    }
}

pub fn write_string(text: &[u8], output: &mut Vec<u8>) {
    write_varint(text.len() as u64, output);
    output.extend_from_slice(text);
}

fn read_string(bytes: &mut &[u8]) -> Vec<u8> {
    let length = usize::try_from(read_varint(bytes)).unwrap();
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    text.to_vec()
}

fn write_value(value: &Value, output: &mut Vec<u8>) {
    match value {
        Value::Null => output.push(0),
        Value::True => output.push(0x11),
        Value::Number(number) => {
            output.push(3);
            write_varint(*number, output);
        }
        Value::Text(text) => {
            output.push(8);
            write_string(text.as_bytes(), output);
        }
        Value::Bytes(bytes) => {
            output.push(9);
            write_string(bytes, output);
        }
    }
}

fn read_value(bytes: &mut &[u8]) -> Value {
    let (kind, rest) = bytes.split_first().unwrap();
    *bytes = rest;
    match kind & 0x0f {
        0 => Value::Null,
        1 => Value::True,
        2..=5 => Value::Number(read_varint(bytes)),
        8 => Value::Text(String::from_utf8(read_string(bytes)).unwrap()),
        9 => Value::Bytes(read_string(bytes)),
        kind => panic!("unknown type of a value: {kind}"),
    }
}

pub fn encode_pairs(pairs: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, pair_value) in pairs {
        write_string(name.as_bytes(), &mut bytes);
        write_value(pair_value, &mut bytes);
    }
    bytes
}

/// Encodes a message for a NOTIFY frame.
pub fn encode_message(name: &str, arguments: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_string(name.as_bytes(), &mut bytes);
    bytes.push(u8::try_from(arguments.len()).unwrap());
    bytes.extend(encode_pairs(arguments));
    bytes
}

/// Encodes the argument `headers` as HAProxy's `req.hdrs_bin` does.
pub fn encode_headers(header_pairs: &[(&str, &str)]) -> Value {
    let mut bytes = Vec::new();
    for (name, value) in header_pairs.iter().chain([&("", "")]) {
        write_string(name.as_bytes(), &mut bytes);
        write_string(value.as_bytes(), &mut bytes);
    }
    Value::Bytes(bytes)
}

/// Encodes a frame. `flags` is 1 if the frame is complete, or is the last fragment.
pub fn encode_frame(kind: u8, flags: u32, ids: (u64, u64), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&flags.to_be_bytes());
    write_varint(ids.0, &mut bytes);
    write_varint(ids.1, &mut bytes);
    bytes.extend_from_slice(payload);
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], &bytes].concat()
}

pub fn encode_hello(max_frame_size: u64, versions: &str) -> Vec<u8> {
    let payload = encode_pairs(&[
        ("supported-versions", text_value(versions)),
        ("max-frame-size", Value::Number(max_frame_size)),
        ("capabilities", text_value("pipelining")),
    ]);
    encode_frame(HAPROXY_HELLO, 1, (0, 0), &payload)
}

/// A frame that the peer received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub ids: (u64, u64),
    payload: Vec<u8>,
}

impl Frame {
    /// Decodes the pairs of a HELLO or DISCONNECT frame.
    pub fn decode_pairs(&self) -> BTreeMap<String, Value> {
        let mut bytes = &*self.payload;
        let mut pairs = BTreeMap::new();
        while !bytes.is_empty() {
            let name = String::from_utf8(read_string(&mut bytes)).unwrap();
            pairs.insert(name, read_value(&mut bytes));
        }
        pairs
    }

    /// Returns the variables that an ACK frame sets. All must be in the scope of the transaction.
    pub fn decode_variables(&self) -> BTreeMap<String, Value> {
        let mut bytes = &*self.payload;
        let mut variables = BTreeMap::new();
        while let [1, 3, 2, rest @ ..] = bytes {
            bytes = rest;
            let name = String::from_utf8(read_string(&mut bytes)).unwrap();
            variables.insert(name, read_value(&mut bytes));
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        variables
    }
}

/// A connection to an agent.
pub struct Peer(pub TcpStream);

impl Peer {
    pub async fn connect(agent: SocketAddr) -> Self {
        Self(TcpStream::connect(agent).await.unwrap())
    }

    /// Connects, and completes the handshake.
    pub async fn connect_and_greet(agent: SocketAddr) -> Self {
        let mut peer = Self::connect(agent).await;
        peer.send(&encode_hello(131_072, "2.0")).await;
        assert_eq!(peer.receive().await.unwrap().kind, AGENT_HELLO);
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Receives the next frame. Returns `None` if the agent has closed the connection.
    pub async fn receive(&mut self) -> Option<Frame> {
        let receiving = async {
            let length = self.0.read_u32().await.ok()?;
            let mut bytes = vec![0; length as usize];
            self.0.read_exact(&mut bytes).await.ok()?;
            let mut rest = &bytes[5..];
            let ids = (read_varint(&mut rest), read_varint(&mut rest));
            Some(Frame {
                kind: bytes[0],
                ids,
                payload: rest.to_vec(),
            })
        };
        let receive = tokio::time::timeout(Duration::from_secs(10), receiving);
        receive
            .await
            .expect("the agent should answer or close the connection in time")
    }
}
