//! The terms of a route.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::PassivePaths;
use crate::policy::{ActivityKind, StreamActivity};
use crate::session::{Limits, PolicyName};

/// A value, and the object that sets it, such as `SessionPolicy team-crm/crm`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The object that sets the value.
    pub from: Arc<str>,
}

/// The terms of a route. Everything that is not set changes nothing.
#[derive(Clone, Debug, Default)]
pub struct RouteTerms {
    /// The longest time without activity.
    pub idle: Option<Sourced<Duration>>,
    /// The longest time since the sign-in.
    pub absolute: Option<Sourced<Duration>>,
    /// The longest age of the sign-in for a request.
    pub max_auth_age: Option<Sourced<Duration>>,
    /// The most concurrent sessions of a subject.
    pub max_sessions: Option<Sourced<usize>>,
    /// The requests that count as activity.
    pub activity: ActivityKind,
    /// The paths whose requests never count as activity.
    pub passive_paths: PassivePaths,
    /// Lists of groups. The subject must be in one group of each list.
    pub groups: BTreeSet<Sourced<Vec<String>>>,
    /// Policies of the configuration whose limits the session must meet too.
    pub policies: BTreeSet<Sourced<PolicyName>>,
    /// Whether data inside a stream can count as activity; `None` if the route does not restrict this.
    pub stream_activity: Option<StreamActivity>,
    /// The object that forbids requests without a session, if any.
    pub forbids_public: Option<Arc<str>>,
}

impl RouteTerms {
    /// Whether the terms change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            idle,
            absolute,
            max_auth_age,
            max_sessions,
            activity,
            passive_paths,
            groups,
            policies,
            stream_activity,
            forbids_public,
        } = self;
        idle.is_none()
            && absolute.is_none()
            && max_auth_age.is_none()
            && max_sessions.is_none()
            && *activity == ActivityKind::default()
            && *passive_paths == PassivePaths::default()
            && groups.is_empty()
            && policies.is_empty()
            && stream_activity.is_none()
            && forbids_public.is_none()
    }

    /// The limits of the session for requests of this route.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let value = |limit: &Option<Sourced<Duration>>| limit.as_ref().map(|limit| limit.value);
        Limits {
            idle: value(&self.idle),
            absolute: value(&self.absolute).unwrap_or(Limits::NONE.absolute),
            max_auth_age: value(&self.max_auth_age),
        }
    }

    /// The terms of a request to which both terms apply.
    #[must_use]
    pub fn strictest(&self, other: &Self) -> Self {
        Self {
            idle: lesser(&self.idle, &other.idle),
            absolute: lesser(&self.absolute, &other.absolute),
            max_auth_age: lesser(&self.max_auth_age, &other.max_auth_age),
            max_sessions: lesser(&self.max_sessions, &other.max_sessions),
            activity: self.activity.strictest(other.activity),
            passive_paths: self.passive_paths.union(&other.passive_paths),
            groups: &self.groups | &other.groups,
            policies: &self.policies | &other.policies,
            stream_activity: lesser(&self.stream_activity, &other.stream_activity),
            forbids_public: lesser(&self.forbids_public, &other.forbids_public),
        }
    }
}

/// The lesser of two optional values; `None` means no restriction.
#[must_use]
pub fn lesser<T: Clone + Ord>(a: &Option<T>, b: &Option<T>) -> Option<T> {
    a.iter().chain(b).min().cloned()
}
