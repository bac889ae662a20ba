use std::sync::Arc;

use super::{BackgroundHeaders, NamedHosts, Policies, Rules};

/// Everything that says what applies to a request.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// The policies.
    pub policies: Arc<Policies>,
    /// Which of them, and what else, applies to which request.
    pub rules: Rules,
    /// The hosts that the configuration names.
    pub hosts: NamedHosts,
    /// How clients say that a request happens in the background.
    pub background: BackgroundHeaders,
}
