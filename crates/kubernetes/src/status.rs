//! The status of a policy (GEP-713).

use serde::Serialize;

use crate::duration::format_duration;
use crate::merge::Effective;

/// A condition of a policy for one of its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// `Accepted` or `Programmed`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the condition is true.
    #[serde(serialize_with = "serialize_status")]
    pub status: bool,
    /// One word for the cause.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What holds for one target of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// The API group of the target.
    pub group: String,
    /// The kind of the target.
    pub kind: String,
    /// The name of the target.
    pub name: String,
    /// The rule or the listener, if the policy names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// A limit in force, with the object that sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectiveLimit {
    /// The limit, as a duration of GEP-2257.
    pub value: String,
    /// The object.
    pub from: String,
}

/// The status of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// What holds for each target.
    pub ancestors: Vec<Ancestor>,
    /// The conditions of the policy as a whole. A `ClusterSessionPolicy` has no targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The idle limit in force for the routes of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<EffectiveLimit>,
    /// The absolute limit in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<EffectiveLimit>,
    /// The longest age of a sign-in in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_auth_age: Option<EffectiveLimit>,
}

fn serialize_status<S: serde::Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

impl Condition {
    pub(crate) fn accepted() -> Self {
        Self {
            kind: "Accepted",
            status: true,
            reason: "Accepted",
            message: "The policy applies to the target.".to_owned(),
        }
    }

    pub(crate) fn refused(reason: &'static str, message: String) -> Self {
        Self {
            kind: "Accepted",
            status: false,
            reason,
            message,
        }
    }

    /// `Programmed`, with a sentence for each field whose value is not in force.
    pub(crate) fn programmed(overridden: &[String]) -> Self {
        let (reason, message) = if overridden.is_empty() {
            (
                "Programmed",
                "Checks use the values of the policy.".to_owned(),
            )
        } else {
            ("Overridden", overridden.join(" "))
        };
        Self {
            kind: "Programmed",
            status: true,
            reason,
            message,
        }
    }
}

/// Describes a value that another object has overridden; `None` if the value is in force.
pub(crate) fn describe_override(field: &str, effective: &Effective) -> Option<String> {
    let (wanted, limit) = (effective.overridden.as_ref()?, effective.limit.as_ref()?);
    Some(format!(
        "{field} {} of {} is {} because of {}.",
        format_duration(wanted.value),
        wanted.from,
        format_duration(limit.value),
        limit.from
    ))
}

/// Returns the effective limit for the status.
pub(crate) fn effective_limit(effective: &Effective) -> Option<EffectiveLimit> {
    let limit = effective.limit.as_ref()?;
    Some(EffectiveLimit {
        value: format_duration(limit.value),
        from: limit.from.to_string(),
    })
}
