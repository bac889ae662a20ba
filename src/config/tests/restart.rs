//! Keys that apply only after a restart.

use super::*;

#[test]
fn changed_keys_that_need_a_restart_are_named() {
    let before = load_yaml("{}").unwrap().effective;
    for (text, expected) in [
        ("{}", &[][..]),
        ("listen: {check: '127.0.0.1:1'}", &["listen"]),
        ("store: {max_sessions: 7}", &["store"]),
        ("store: {check_timeout: 1s}", &[]),
        ("events: {stream_length: 7}", &["events"]),
        ("traces: {ratio: 0.5}", &["traces"]),
        ("log: {format: json, filter: debug}", &["log.format"]),
        ("log: {filter: debug}", &[]),
        (
            "{shutdown_delay: 1s, shutdown_timeout: 1s}",
            &["shutdown_delay", "shutdown_timeout"],
        ),
        ("policies: {default: {idle: 5m}}", &[]),
    ] {
        let now = load_yaml(text).unwrap().effective;
        assert_eq!(now.changed_for_restart(&before), expected, "{text}");
    }
}
