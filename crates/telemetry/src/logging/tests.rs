use super::*;
use crate::testing::logged;

fn written(write: impl FnOnce()) -> String {
    let line = logged(LogFormat::Human, false, write);
    let line = line.strip_suffix('\n').unwrap();
    let (_, rest) = line.split_once("tests: ").unwrap();
    rest.to_owned()
}

#[test]
fn a_line_for_people_has_fields_that_no_value_can_forge() {
    let forged = "a user.id=\"root\"\nb";
    assert_eq!(
        written(|| tracing::info!(text = "a", count = 3, ok = true, "it is so")),
        r#"it is so text="a" count=3 ok=true"#
    );
    let expected = r#"it is so text="a user.id=\"root\"\nb""#;
    assert_eq!(
        written(|| tracing::info!(text = forged, "it is so")),
        expected
    );
    assert_eq!(
        written(|| tracing::info!(text = %forged, "it is so")),
        expected
    );
    assert_eq!(
        written(|| tracing::info!(text = %"redis:6379", at = ?"x", "it is so")),
        r#"it is so text=redis:6379 at="\"x\"""#
    );
    assert_eq!(
        written(|| tracing::info!("{forged}")),
        r#""a user.id=\"root\"\nb""#
    );
    assert_eq!(written(|| tracing::info!("two\nlines")), r"two\nlines");
}

#[test]
fn only_a_terminal_gets_colours() {
    let line = logged(LogFormat::Human, true, || {
        tracing::info!(text = "\u{1b}[2J", "it is so");
    });
    assert!(line.contains("\u{1b}[3mtext"), "{line:?}");
    assert!(line.contains(r#""\u{1b}[2J""#), "{line:?}");
}

/// A filter matches targets by prefix, so a filter for `curfew` also matches the other crates of the service.
#[test]
fn a_filter_for_the_service_includes_its_crates() {
    let shown = |filter: &str| {
        let filter = parse(filter).unwrap();
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(
            subscriber,
            || tracing::enabled!(target: "curfew_store::redis", Level::DEBUG),
        )
    };
    assert!(shown("curfew=debug"));
    assert!(shown("info,curfew_store=debug"));
    assert!(!shown("info"));
    assert!(!shown("info,curfew::store=debug"));
}
