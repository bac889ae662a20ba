//! The heartbeats of well-known protocols. `tests/streams/heartbeats/` has recordings of their real client libraries.

use std::sync::{Arc, LazyLock};

use super::Pattern;

/// A preset: its name, and the patterns of its heartbeats. A space in a pattern stands for any white space.
struct Preset {
    name: &'static str,
    patterns: &'static [&'static str],
}

/// Packets of Engine.IO: ping, pong, the probe of a new transport, `upgrade` and `noop`.
const ENGINE_IO: &[&str] = &["[23](?:probe)?|[56]"];

/// Messages of y-protocols: awareness (the state of a person, which the client renews every 15 seconds), the query for
/// it, and the request for missing changes, also with an answer without changes.
const YJS: &[&str] = &[r"\x01.*", r"\x03", r"\x00\x00.*", r"\x00\x01\x02\x00\x00"];

const PRESETS: &[Preset] = &[
    // Centrifugo: an empty command answers the ping of the server. Versions before 4 send a ping with an ID.
    Preset {
        name: "centrifuge",
        patterns: &[
            r"\{ \}|\x00?",
            r#"\{ "id" : [0-9]+ , "(?:method" : 7|ping" : \{ \}) \}"#,
            r#"\{ "(?:method" : 7|ping" : \{ \}) , "id" : [0-9]+ \}"#,
        ],
    },
    // Meteor.
    Preset {
        name: "ddp",
        patterns: &[r#"\{ "msg" : "p[io]ng" (?:, "id" : "[^"]*" )?\}"#],
    },
    Preset {
        name: "engine.io",
        patterns: ENGINE_IO,
    },
    // The protocols `graphql-transport-ws` and `graphql-ws`.
    Preset {
        name: "graphql-ws",
        patterns: &[r#"\{ "type" : "(?:p[io]ng|ka)" (?:, "payload" : (?:null|\{[^{}]*\}) )?\}"#],
    },
    // JupyterLab: a new connection asks the kernel for its state. The other messages belong to the collaboration.
    Preset {
        name: "jupyter",
        patterns: &[
            r#".*"msg_type" : "(?:kernel_info|comm_info)_request".*"#,
            YJS[0],
            YJS[1],
            YJS[2],
            YJS[3],
        ],
    },
    // PINGREQ, and the acknowledgements of messages from the broker: PUBACK, PUBREC, PUBREL, PUBCOMP.
    Preset {
        name: "mqtt",
        patterns: &[
            r"\xc0\x00",
            r"[\x40\x50\x62\x70](?:\x02..|\x03...|\x04....)",
        ],
    },
    // The serializers of versions 1 and 2.
    Preset {
        name: "phoenix",
        patterns: &[
            r#"\[ (?:null|"[^"]*") , (?:null|"[^"]*") , "phoenix" , "heartbeat" , \{ \} \]"#,
            r#"\{ "topic" : "phoenix" , "event" : "heartbeat" , "payload" : \{ \} (?:, "(?:join_)?ref" : (?:null|"[^"]*"|[0-9]+) )*\}"#,
        ],
    },
    Preset {
        name: "pusher",
        patterns: &[
            r#"\{ "event" : "pusher:p[io]ng" (?:, "data" : (?:null|\{ \}|"(?:\{\})?") )?\}"#,
        ],
    },
    // Ping, in the encodings JSON and MessagePack. A client can send several messages together.
    Preset {
        name: "signalr",
        patterns: &[r#"(?:\{ "type" : 6 \}\x1e)+"#, r"(?:\x02\x91\x06)+"],
    },
    Preset {
        name: "socket.io",
        patterns: ENGINE_IO,
    },
    // An end of line, also in a message of SockJS.
    Preset {
        name: "stomp",
        patterns: &[r"(?:\r?\n)+", r#"\[ "(?:\\r)?\\n" \]"#],
    },
    Preset {
        name: "yjs",
        patterns: YJS,
    },
];

/// Returns the names of the presets, sorted.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// Returns the patterns of a preset; `None` for an unknown name. Each pattern is compiled once.
pub(super) fn patterns(name: &str) -> Option<Vec<Arc<Pattern>>> {
    static COMPILED: LazyLock<Vec<Vec<Arc<Pattern>>>> = LazyLock::new(|| {
        let compile = |source: &&str| {
            Pattern::new(&source.replace(' ', r"\s*"))
                .ok()
                .map(Arc::new)
        };
        PRESETS
            .iter()
            .map(|preset| preset.patterns.iter().filter_map(compile).collect())
            .collect()
    });
    let index = PRESETS.iter().position(|preset| preset.name == name)?;
    COMPILED.get(index).cloned()
}

/// Returns the number of patterns in the table.
#[cfg(test)]
pub(super) fn pattern_count(name: &str) -> usize {
    let preset = PRESETS.iter().find(|preset| preset.name == name);
    preset.map_or(0, |preset| preset.patterns.len())
}
