//! Properties of the keys in a section: which are secret, which are URLs, and which need a restart.

/// A section of the configuration, such as `store`. The keys in the constants do not include the name of the section.
/// In these keys, `*` stands for a name or an index.
pub(super) trait Section {
    /// Keys whose values never appear in errors. All keys below them are secret, too.
    const SECRETS: &'static [&'static str] = &[];

    /// Keys below a key of [`Self::SECRETS`] that are not secret.
    const NOT_SECRET: &'static [&'static str] = &[];

    /// Keys whose values are URLs that can contain a password or a secret query.
    const URLS: &'static [&'static str] = &[];

    /// Returns the full keys that have changed since `before` and apply only after a restart.
    fn changed_for_restart(&self, _before: &Self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// How an error message shows a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redaction {
    /// The value is shown as written.
    None,
    /// The URL is shown without its password and its query.
    Url,
    /// The value is not shown.
    Full,
}

impl Redaction {
    /// Returns the redaction of a key in the section `S`. The key does not include the name of the section.
    pub(super) fn of<S: Section>(key: &str) -> Self {
        let key: Vec<&str> = key.split('.').collect();
        let is_in = |patterns: &[&str]| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| covers(&pattern.split('.').collect::<Vec<_>>(), &key))
        };
        if is_in(S::SECRETS) && !is_in(S::NOT_SECRET) {
            Self::Full
        } else if is_in(S::URLS) {
            Self::Url
        } else {
            Self::None
        }
    }
}

/// Whether a pattern matches a key, or one of the keys above it. Names can contain dots, so `*` stands for one or more
/// parts of the key.
fn covers(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], _) => true,
        (_, []) => false,
        (["*", rest @ ..], [_, below @ ..]) => covers(rest, below) || covers(pattern, below),
        ([part, rest @ ..], [name, below @ ..]) => part == name && covers(rest, below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Example;

    impl Section for Example {
        const SECRETS: &'static [&'static str] = &["password", "tokens", "providers.*.secret"];
        const NOT_SECRET: &'static [&'static str] = &["tokens.*.name"];
        const URLS: &'static [&'static str] = &["url"];
    }

    #[test]
    fn secrets_are_redacted_with_all_keys_below_them() {
        for (key, expected) in [
            ("password", Redaction::Full),
            ("password_file", Redaction::None),
            ("tokens", Redaction::Full),
            ("tokens.0", Redaction::Full),
            ("tokens.0.hash", Redaction::Full),
            ("tokens.0.name", Redaction::None),
            ("tokens.0.name.0", Redaction::None),
            ("providers", Redaction::None),
            ("providers.main", Redaction::None),
            ("providers.main.title", Redaction::None),
            ("providers.main.secret", Redaction::Full),
            ("providers.with.dots.secret", Redaction::Full),
            ("url", Redaction::Url),
            ("", Redaction::None),
        ] {
            assert_eq!(Redaction::of::<Example>(key), expected, "{key}");
        }
    }
}
