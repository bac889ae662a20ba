//! `SessionPolicy`: the limits of an application team for its routes.

use serde::Deserialize;

use crate::fields::{FieldParser, Fields};

/// `spec` of a `SessionPolicy` (curfew.dev/v1alpha1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPolicySpec {
    /// The objects of the same namespace that the policy applies to.
    pub target_refs: Box<[TargetRef]>,
    /// The longest time without activity, as a duration of GEP-2257.
    pub idle: Option<String>,
    /// The longest time since the sign-in.
    pub absolute: Option<String>,
    /// The longest age of the sign-in for a request.
    pub max_auth_age: Option<String>,
    /// The requests that count as activity: `any`, `navigation` or `explicit`.
    pub activity: Option<String>,
    /// Globs of the paths whose requests never count as activity.
    pub passive_paths: Box<[String]>,
    /// The subject must be in one of these groups.
    pub require_groups: Box<[String]>,
    /// `off` or `clientData`.
    pub stream_activity: Option<String>,
}

/// A target of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// The API group; empty for a `Service`.
    pub group: String,
    /// `Ingress`, `HTTPRoute`, `GRPCRoute`, `Gateway` or `Service`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// A rule of a route, or a listener of a Gateway.
    pub section_name: Option<String>,
}

impl SessionPolicySpec {
    /// Returns the valid fields, and the mistakes in the others.
    pub(crate) fn parse(&self) -> (Fields, Vec<String>) {
        let mut parser = FieldParser::default();
        let fields = Fields {
            idle: parser.duration("idle", self.idle.as_deref()),
            absolute: parser.duration("absolute", self.absolute.as_deref()),
            max_auth_age: parser.duration("maxAuthAge", self.max_auth_age.as_deref()),
            activity: parser.activity("activity", self.activity.as_deref()),
            passive_paths: parser.passive_paths("passivePaths", &self.passive_paths),
            require_groups: self.require_groups.to_vec(),
            stream_activity: parser
                .stream_activity("streamActivity", self.stream_activity.as_deref()),
            policy: None,
        };
        (fields, parser.mistakes)
    }
}
