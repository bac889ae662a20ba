use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The state of each identity provider, for the operator.
#[derive(Debug, Default)]
pub struct ProviderDiagnostics {
    notes: Mutex<BTreeMap<String, Note>>,
}

#[derive(Debug, Default)]
struct Note {
    /// Whether the last sign-in had no usable refresh token.
    lacks_refresh_token: bool,
    /// Why the last request got no usable answer.
    problem: Option<String>,
}

impl ProviderDiagnostics {
    /// Records whether a sign-in had a usable refresh token.
    pub fn refresh_token_issued(&self, provider: &str, issued: bool) {
        self.note(provider, |note| note.lacks_refresh_token = !issued);
    }

    /// Records why a request got no usable answer; `None` if it got one.
    pub fn problem(&self, provider: &str, problem: Option<String>) {
        self.note(provider, |note| note.problem = problem);
    }

    fn note(&self, provider: &str, change: impl FnOnce(&mut Note)) {
        let mut notes = self.notes.lock();
        match notes.get_mut(provider) {
            Some(note) => change(note),
            None => change(notes.entry(provider.to_owned()).or_default()),
        }
    }

    /// Returns the diagnostics of these providers.
    pub(super) fn lines<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let notes = self.notes.lock();
        let mut lines = Vec::new();
        for (name, note) in names.filter_map(|name| Some((name, notes.get(name)?))) {
            if note.lacks_refresh_token {
                lines.push(format!(
                    "{name} issued no refresh token, or one that is too long, so its sessions are not revalidated: \
                     allow refresh tokens for the client, and add offline_access to \
                     login.providers.{name}.scopes if the provider needs it"
                ));
            }
            if let Some(problem) = &note.problem {
                lines.push(format!(
                    "{name} does not confirm sessions, which stay valid: {problem}"
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_of_each_provider_is_shown() {
        let notes = ProviderDiagnostics::default();
        let lines = || notes.lines(["main", "other"].into_iter());
        notes.refresh_token_issued("main", false);
        notes.problem("other", Some("status 503".to_owned()));
        notes.problem("gone", Some("not configured any more".to_owned()));
        let shown = lines();
        assert!(
            shown[0].contains("login.providers.main.scopes"),
            "{shown:?}"
        );
        assert!(shown[1].ends_with("status 503"), "{shown:?}");
        assert_eq!(shown.len(), 2);
        notes.refresh_token_issued("main", true);
        notes.problem("other", None);
        assert!(lines().is_empty());
    }
}
