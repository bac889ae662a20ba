//! Tests every output with every kind of misleading character.

/// A character of each kind, and its effect in an unescaped output.
const MISLEADING_CHARACTERS: [(char, &str); 27] = [
    ('\0', "ends a text"),
    ('\u{7}', "rings"),
    ('\u{8}', "takes back what is before it"),
    ('\t', "is a column"),
    ('\n', "begins a line"),
    ('\r', "writes over the line"),
    ('\u{1b}', "begins a command for the terminal"),
    ('\u{7f}', "deletes"),
    ('\u{85}', "begins a line"),
    ('\u{9b}', "begins a command for the terminal"),
    ('\u{ad}', "is not seen"),
    ('\u{61c}', "changes the direction"),
    ('\u{200b}', "is not seen"),
    ('\u{200c}', "is not seen"),
    ('\u{200d}', "joins"),
    ('\u{200e}', "changes the direction"),
    ('\u{200f}', "changes the direction"),
    ('\u{2028}', "begins a line"),
    ('\u{2029}', "begins a paragraph"),
    ('\u{202a}', "embeds a direction"),
    ('\u{202e}', "turns the order round"),
    ('\u{2060}', "is not seen"),
    ('\u{2066}', "isolates a direction"),
    ('\u{2069}', "ends an isolate"),
    ('\u{feff}', "is not seen"),
    ('\u{fffb}', "ends an annotation"),
    ('\u{e0041}', "is not seen"),
];

/// Text that an output without escaping would show as another field, another value, or markup.
const FORGED: &str = "\" user.id=\"root\" <b>";

/// The format of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Plain text for people.
    Text,
    /// Lines of `name=value`.
    Fields,
    /// JSON: one value, or one value per line.
    Json,
    /// HTML or XML.
    Markup,
}

/// The name of an output, its format, and the text that it shows.
pub(crate) type Output = (&'static str, Form, String);

/// Every output that can contain untrusted text.
async fn outputs(text: &str) -> Vec<Output> {
    let mut all = crate::telemetry::logging::tests::outputs(text);
    all.extend(crate::telemetry::metrics::tests::outputs(text));
    all.extend(crate::cli::tests::outputs(text));
    all.extend(crate::webhook::tests::outputs(text));
    all.extend(crate::browser::tests::outputs(text).await);
    all.extend(crate::admin::tests::outputs(text).await);
    all
}

/// Whether a JSON value contains a string.
fn holds(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::String(found) => found.contains(text),
        serde_json::Value::Array(all) => all.iter().any(|it| holds(it, text)),
        serde_json::Value::Object(all) => all
            .iter()
            .any(|(name, it)| name.contains(text) || holds(it, text)),
        _ => false,
    }
}

#[tokio::test]
async fn no_output_shows_a_misleading_character() {
    let harmless = outputs("axb").await;
    for (name, _, shown) in &harmless {
        assert!(shown.contains("axb"), "{name} does not show it:\n{shown}");
    }
    for (character, does) in MISLEADING_CHARACTERS {
        let text = format!("a{character}b{FORGED}");
        for (name, form, shown) in outputs(&text).await {
            let (_, _, harmless) = harmless.iter().find(|(it, ..)| *it == name).unwrap();
            let context = || format!("{name}: {character:?} {does}\n{shown:?}");
            let own_lines = character == '\n' || !shown.contains(character);
            assert!(own_lines, "{}", context());
            if form != Form::Markup {
                let (lines, expected) = (shown.lines().count(), harmless.lines().count());
                assert_eq!(lines, expected, "{}", context());
            }
            match form {
                Form::Text => {}
                Form::Fields => assert!(!shown.contains(" user.id=\"root\""), "{}", context()),
                Form::Markup => assert!(!shown.contains("<b>"), "{}", context()),
                Form::Json => {
                    let values = serde_json::Deserializer::from_str(&shown).into_iter();
                    let values: Result<Vec<serde_json::Value>, _> = values.collect();
                    let values = values.unwrap_or_else(|error| panic!("{error}: {}", context()));
                    assert!(values.iter().any(|it| holds(it, &text)), "{}", context());
                }
            }
        }
    }
}
