//! Tests that no output shows a misleading character of any kind.

/// Characters of each kind, each with its effect in an unescaped output.
const MISLEADING_CHARACTERS: [(char, &str); 27] = [
    ('\0', "ends a C string"),
    ('\u{7}', "rings the bell"),
    ('\u{8}', "moves the cursor back"),
    ('\t', "separates columns"),
    ('\n', "starts a line"),
    ('\r', "overwrites the line"),
    ('\u{1b}', "starts a terminal escape sequence"),
    ('\u{7f}', "deletes a character"),
    ('\u{85}', "starts a line"),
    ('\u{9b}', "starts a terminal escape sequence"),
    ('\u{ad}', "is invisible"),
    ('\u{61c}', "changes the text direction"),
    ('\u{200b}', "is invisible"),
    ('\u{200c}', "is invisible"),
    ('\u{200d}', "joins characters"),
    ('\u{200e}', "changes the text direction"),
    ('\u{200f}', "changes the text direction"),
    ('\u{2028}', "starts a line"),
    ('\u{2029}', "starts a paragraph"),
    ('\u{202a}', "embeds a text direction"),
    ('\u{202e}', "reverses the visible order"),
    ('\u{2060}', "is invisible"),
    ('\u{2066}', "isolates a text direction"),
    ('\u{2069}', "ends a direction isolate"),
    ('\u{feff}', "is invisible"),
    ('\u{fffb}', "ends an annotation"),
    ('\u{e0041}', "is invisible"),
];

/// Text that an output without escaping would show as another field, another value, or markup.
const FORGED: &str = "\" user.id=\"root\" <b>";

pub(crate) use curfew_core::testing::{Output, OutputFormat};

/// Returns every output that can contain untrusted text, with `text` in it.
async fn outputs(text: &str) -> Vec<Output> {
    let mut all = crate::telemetry::testing::logged_outputs(text);
    all.extend(crate::telemetry::testing::metrics_outputs(text));
    all.extend(crate::cli::tests::outputs(text));
    all.extend(crate::webhook::tests::outputs(text));
    all.extend(crate::browser::tests::outputs(text).await);
    all.extend(crate::admin::tests::outputs(text).await);
    all
}

/// Whether a JSON value contains a string.
fn contains_text(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::String(found) => found.contains(text),
        serde_json::Value::Array(all) => all.iter().any(|it| contains_text(it, text)),
        serde_json::Value::Object(all) => all
            .iter()
            .any(|(name, it)| name.contains(text) || contains_text(it, text)),
        _ => false,
    }
}

#[tokio::test]
async fn no_output_shows_a_misleading_character() {
    let harmless = outputs("axb").await;
    for (name, _, shown) in &harmless {
        assert!(
            shown.contains("axb"),
            "{name} does not contain the text:\n{shown}"
        );
    }
    for (character, effect) in MISLEADING_CHARACTERS {
        let text = format!("a{character}b{FORGED}");
        for (name, form, shown) in outputs(&text).await {
            let (_, _, harmless) = harmless.iter().find(|(it, ..)| *it == name).unwrap();
            let context = || format!("{name}: {character:?} {effect}\n{shown:?}");
            let adds_no_character = character == '\n' || !shown.contains(character);
            assert!(adds_no_character, "{}", context());
            if form != OutputFormat::Markup {
                let (lines, expected) = (shown.lines().count(), harmless.lines().count());
                assert_eq!(lines, expected, "{}", context());
            }
            match form {
                OutputFormat::Text => {}
                OutputFormat::Fields => {
                    assert!(!shown.contains(" user.id=\"root\""), "{}", context())
                }
                OutputFormat::Markup => assert!(!shown.contains("<b>"), "{}", context()),
                OutputFormat::Json => {
                    let values = serde_json::Deserializer::from_str(&shown).into_iter();
                    let values: Result<Vec<serde_json::Value>, _> = values.collect();
                    let values = values.unwrap_or_else(|error| panic!("{error}: {}", context()));
                    assert!(
                        values.iter().any(|it| contains_text(it, &text)),
                        "{}",
                        context()
                    );
                }
            }
        }
    }
}
