use super::*;
use crate::testing::capture_log;

fn logged_line(write: impl FnOnce()) -> String {
    let line = capture_log(LogFormat::Human, false, write);
    let line = line.strip_suffix('\n').unwrap();
    let (_, rest) = line.split_once("tests: ").unwrap();
    rest.to_owned()
}

#[test]
fn no_value_can_forge_a_field_of_a_human_log_line() {
    let forged = "a user.id=\"root\"\nb";
    assert_eq!(
        logged_line(|| tracing::info!(text = "a", count = 3, ok = true, "a message")),
        r#"a message text="a" count=3 ok=true"#
    );
    let expected = r#"a message text="a user.id=\"root\"\nb""#;
    assert_eq!(
        logged_line(|| tracing::info!(text = forged, "a message")),
        expected
    );
    assert_eq!(
        logged_line(|| tracing::info!(text = %forged, "a message")),
        expected
    );
    assert_eq!(
        logged_line(|| tracing::info!(text = %"redis:6379", at = ?"x", "a message")),
        r#"a message text=redis:6379 at="\"x\"""#
    );
    assert_eq!(
        logged_line(|| tracing::info!("{forged}")),
        r#""a user.id=\"root\"\nb""#
    );
    assert_eq!(logged_line(|| tracing::info!("two\nlines")), r"two\nlines");
}

#[test]
fn only_a_terminal_gets_colours() {
    let line = capture_log(LogFormat::Human, true, || {
        tracing::info!(text = "\u{1b}[2J", "a message");
    });
    assert!(line.contains("\u{1b}[3mtext"), "{line:?}");
    assert!(line.contains(r#""\u{1b}[2J""#), "{line:?}");
}

/// A filter matches targets by prefix, so a filter for `curfew` also matches the other crates of the service.
#[test]
fn a_filter_for_the_service_includes_its_crates() {
    let is_enabled = |filter: &str| {
        let filter = parse_filter(filter).unwrap();
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(
            subscriber,
            || tracing::enabled!(target: "curfew_store::redis", Level::DEBUG),
        )
    };
    assert!(is_enabled("curfew=debug"));
    assert!(is_enabled("info,curfew_store=debug"));
    assert!(!is_enabled("info"));
    assert!(!is_enabled("info,curfew::store=debug"));
}
