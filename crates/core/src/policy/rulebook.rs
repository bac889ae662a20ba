use std::sync::Arc;

use super::{BackgroundHeaders, NamedHosts, Policies, Routes, Rules};
use crate::live::Live;

/// The part of the configuration that decides which terms apply to a request: the policy, the access, the activity and
/// the groups.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// All policies.
    pub policies: Arc<Policies>,
    /// The rules that select policies and other terms for requests.
    pub rules: Rules,
    /// The hosts that the configuration names.
    pub hosts: NamedHosts,
    /// The routes of the cluster, which tighten the terms of the rules. They change while Curfew runs.
    pub routes: Live<Routes>,
    /// The headers that mark background requests.
    pub background: BackgroundHeaders,
}
