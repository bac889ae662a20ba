use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The state of each identity provider, for the operator.
#[derive(Debug, Default)]
pub struct ProviderDiagnostics {
    states: Mutex<BTreeMap<String, ProviderState>>,
}

#[derive(Debug, Default)]
struct ProviderState {
    /// Whether the last sign-in had no usable refresh token.
    lacks_refresh_token: bool,
    /// Why the last request got no usable answer.
    problem: Option<String>,
}

impl ProviderDiagnostics {
    /// Records whether a sign-in had a usable refresh token.
    pub fn record_refresh_token(&self, provider: &str, issued: bool) {
        self.update_state(provider, |state| state.lacks_refresh_token = !issued);
    }

    /// Records why a request got no usable answer. `None` means that the answer was usable.
    pub fn record_problem(&self, provider: &str, problem: Option<String>) {
        self.update_state(provider, |state| state.problem = problem);
    }

    fn update_state(&self, provider: &str, change: impl FnOnce(&mut ProviderState)) {
        let mut states = self.states.lock();
        match states.get_mut(provider) {
            Some(state) => change(state),
            None => change(states.entry(provider.to_owned()).or_default()),
        }
    }

    /// Returns the diagnostics of these providers.
    pub(super) fn messages<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let states = self.states.lock();
        let mut messages = Vec::new();
        for (name, state) in names.filter_map(|name| Some((name, states.get(name)?))) {
            if state.lacks_refresh_token {
                messages.push(format!(
                    "{name} issued no refresh token, or a token that is too long, so its sessions are not revalidated: \
                     allow refresh tokens for the client, and add offline_access to \
                     login.providers.{name}.scopes if the provider needs it"
                ));
            }
            if let Some(problem) = &state.problem {
                messages.push(format!(
                    "{name} does not confirm sessions, so they stay valid without a confirmation: {problem}"
                ));
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_of_each_provider_is_shown() {
        let diagnostics = ProviderDiagnostics::default();
        let messages = || diagnostics.messages(["main", "other"].into_iter());
        diagnostics.record_refresh_token("main", false);
        diagnostics.record_problem("other", Some("status 503".to_owned()));
        diagnostics.record_problem("gone", Some("not configured any more".to_owned()));
        let shown = messages();
        assert!(
            shown[0].contains("login.providers.main.scopes"),
            "{shown:?}"
        );
        assert!(shown[1].ends_with("status 503"), "{shown:?}");
        assert_eq!(shown.len(), 2);
        diagnostics.record_refresh_token("main", true);
        diagnostics.record_problem("other", None);
        assert!(messages().is_empty());
    }
}
