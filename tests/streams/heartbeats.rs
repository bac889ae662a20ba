//! Heartbeats of real client libraries do not keep a session alive. `heartbeats/record.mjs` has recorded them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::TargetKind;
use crate::cells::{Cell, Cells};
use crate::support::curfew::{CreatedSession, Setup};
use crate::websocket::{WebSocket, open_with};

/// The idle limit of the tests.
const IDLE: Duration = Duration::from_secs(4);
/// The time between two replayed frames.
const INTERVAL: Duration = Duration::from_millis(400);

/// The frames that a client sent.
#[derive(Deserialize)]
struct Trace {
    application: String,
    preset: String,
    frames: Vec<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    phase: Phase,
    opcode: u8,
    text: Option<String>,
    hex: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Connect,
    Idle,
    Active,
}

impl Frame {
    fn text(text: &str) -> Self {
        Self {
            phase: Phase::Active,
            opcode: 1,
            text: Some(text.to_owned()),
            hex: None,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match (&self.text, &self.hex) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, hex) => {
                let hex = hex.as_ref().unwrap();
                let digits = (0..hex.len()).step_by(2);
                digits
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                    .collect()
            }
        }
    }

    /// Encodes the frame as the client sent it, with a mask.
    fn encode(&self) -> Vec<u8> {
        let (payload, mask) = (self.payload(), [0x17, 0x2a, 0, 0xff]);
        let mut bytes = vec![0x80 | self.opcode];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        bytes
    }
}

impl Trace {
    fn encoded(&self, phase: Phase) -> Vec<Vec<u8>> {
        let frames = self.frames.iter().filter(|frame| frame.phase == phase);
        frames.map(Frame::encode).collect()
    }
}

fn traces() -> Vec<Trace> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams/heartbeats/traces");
    let files = std::fs::read_dir(directory).unwrap();
    let read = |path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    files.map(|file| read(file.unwrap().path())).collect()
}

/// Starts Curfew with a rule for each preset, whose path is the name of the preset.
async fn start() -> Cells {
    let mut yaml = format!(
        "policies: {{default: {{idle: {}s, absolute: 1h, stream_activity: client_data}}}}\nrules:\n",
        IDLE.as_secs()
    );
    for name in curfew::policy::preset_names() {
        yaml += &format!("  - {{path: /ws/{name}, stream_heartbeats: {name}}}\n");
    }
    yaml += "  - {path: /ws/own, stream_heartbeats: ['/ping,?[0-9]*/', mqtt]}\n";
    Cells::start_with(Setup::memory(), &yaml).await
}

/// Opens a WebSocket with a session of its own.
async fn open(cell: &Cell<'_>, path: &str) -> (CreatedSession, WebSocket) {
    let session = cell.cells.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let socket = open_with(cell, path, "websocket", |request| {
        let mut request = request;
        let headers = request.headers_mut().unwrap();
        headers.insert("cookie", cookie.parse().unwrap());
        let extensions = "permessage-deflate; client_max_window_bits";
        headers.insert("sec-websocket-extensions", extensions.parse().unwrap());
        request
    });
    (session, socket.await)
}

/// Sends the frames in turn, until the connection ends or `limit` is over. Returns what came back if the connection
/// has ended.
async fn replay(socket: WebSocket, frames: Vec<Vec<u8>>, limit: Duration) -> Option<Vec<u8>> {
    let (mut from, mut to) = tokio::io::split(socket);
    let sending = tokio::spawn(async move {
        for frame in frames.iter().cycle() {
            if to.write_all(frame).await.is_err() {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
    let mut received = Vec::new();
    let reading = tokio::time::timeout(limit, from.read_to_end(&mut received)).await;
    sending.abort();
    reading.is_ok().then_some(received)
}

#[tokio::test]
async fn heartbeats_of_real_clients_do_not_keep_a_session_alive() {
    let cells = start().await;
    let cell = &cells.all().next().unwrap();
    let replays = traces().into_iter().map(async |trace| {
        let name = &trace.application;
        let preset = &trace.preset;
        let (session, socket) = open(cell, &format!("/ws/{preset}")).await;
        let end = replay(socket, trace.encoded(Phase::Idle), 5 * IDLE).await;
        let end = end.unwrap_or_else(|| panic!("{name}: the heartbeats kept the session alive"));
        assert!(
            end.ends_with(b"\x88\x0e\x03\xf0idle_timeout"),
            "{name}: {}",
            end.escape_ascii()
        );
        let (status, _) = cells.curfew.check(&session).await;
        assert_eq!(status, 401, "{name}");
        name.clone()
    });
    let tested = futures_util::future::join_all(replays).await;
    assert_eq!(tested.len(), traces().len());
    let with_recording: BTreeSet<String> = traces().into_iter().map(|it| it.preset).collect();
    let presets: BTreeSet<String> = curfew::policy::preset_names().map(str::to_owned).collect();
    assert_eq!(with_recording, presets, "each preset has a recording");
}

#[tokio::test]
async fn actions_between_the_heartbeats_keep_a_session_alive() {
    let cells = start().await;
    let cell = &cells.all().next().unwrap();
    let is_action = |trace: &Trace| trace.application != "jupyter-people";
    let replays = traces().into_iter().filter(is_action).map(async |trace| {
        let (name, preset) = (&trace.application, &trace.preset);
        let (session, socket) = open(cell, &format!("/ws/{preset}")).await;
        let mut frames = trace.encoded(Phase::Active);
        frames.extend(trace.encoded(Phase::Idle).pop());
        let end = replay(socket, frames, 3 * IDLE).await;
        assert!(end.is_none(), "{name}: {}", end.unwrap().escape_ascii());
        let (status, _) = cells.curfew.check(&session).await;
        assert_eq!(status, 200, "{name}");
    });
    futures_util::future::join_all(replays).await;
}

/// Without a list, each message counts. With a pattern of the operator, only its messages do not count.
#[tokio::test]
async fn a_pattern_of_the_operator_names_heartbeats() {
    let cells = start().await;
    let cell = &cells.all().next().unwrap();
    let text = |text: &str| Frame::text(text).encode();
    let cases = [
        ("/ws/none", vec![text("ping")], false),
        ("/ws/own", vec![text("ping"), text("ping,17")], true),
        ("/ws/own", vec![text("ping"), text("pong")], false),
    ];
    let replays = cases.map(async |(path, frames, has_ended)| {
        let (_, socket) = open(cell, path).await;
        let end = replay(socket, frames, 3 * IDLE).await;
        assert_eq!(end.is_some(), has_ended, "{path}");
    });
    futures_util::future::join_all(replays).await;
}

/// A compressed message cannot be compared with a pattern.
#[tokio::test]
async fn compression_is_not_negotiated_where_heartbeats_are_configured() {
    let cells = start().await;
    for cell in cells.all().filter(|cell| cell.kind != TargetKind::H2c) {
        for (path, is_offered) in [
            ("/ws/none", true),
            ("/ws/socket.io", false),
            ("/ws/own", false),
        ] {
            let (_, _socket) = open(&cell, path).await;
            let (head, ..) = cell.application.last_request();
            let offered = head.headers.contains_key("sec-websocket-extensions");
            assert_eq!(offered, is_offered, "{} {path}", cell.name());
        }
    }
}
