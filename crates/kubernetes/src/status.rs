//! The status of a policy (GEP-713).

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::duration::format_duration;
use crate::merge::Effective;
use crate::session_policy::TargetRef;

/// The name of the controller in the status.
const CONTROLLER: &str = "curfew.dev/controller";

/// The most entries of `ancestors` (GEP-713).
const MAX_ANCESTORS: usize = 16;

/// A condition of a policy for one of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `Programmed` or `ChecksSeen`.
    pub kind: &'static str,
    /// Whether the condition is true.
    pub status: bool,
    /// One word for the cause.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What holds for one target of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The target.
    pub target: TargetRef,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// A limit in force, with the object that sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EffectiveLimit {
    /// The limit, as a duration of GEP-2257.
    pub value: String,
    /// The object.
    pub from: String,
}

/// The status of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyStatus {
    /// What holds for each target.
    pub ancestors: Vec<Ancestor>,
    /// The conditions of the policy as a whole. A `ClusterSessionPolicy` has no targets.
    pub conditions: Vec<Condition>,
    /// The idle limit in force for the routes of the policy.
    pub idle: Option<EffectiveLimit>,
    /// The absolute limit in force.
    pub absolute: Option<EffectiveLimit>,
    /// The longest age of a sign-in in force.
    pub max_auth_age: Option<EffectiveLimit>,
}

impl PolicyStatus {
    /// Returns the status as JSON, in the form of GEP-713. `now` is the time in RFC 3339. A condition that had the same
    /// status in `before` keeps the time of its last transition. `None` if `before` says the same already.
    #[must_use]
    pub fn render(&self, before: &Value, generation: i64, now: &str) -> Option<Value> {
        let earlier = before["ancestors"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let ours = self.ancestors.iter().map(|ancestor| {
            let TargetRef {
                group,
                kind,
                name,
                section_name,
            } = &ancestor.target;
            let mut reference = json!({ "group": group, "kind": kind, "name": name });
            if let Some(section) = section_name {
                reference["sectionName"] = json!(section);
            }
            let mut before = earlier.iter().filter(|it| is_ours(it));
            let before = before.find(|it| it["ancestorRef"] == reference);
            let before = before.map_or(&Value::Null, |it| &it["conditions"]);
            json!({
                "ancestorRef": reference,
                "controllerName": CONTROLLER,
                "conditions": conditions(&ancestor.conditions, before, generation, now),
            })
        });
        let mut status = json!({});
        // A merge patch replaces the list, so it repeats the entries of other controllers.
        let others = earlier.iter().filter(|it| !is_ours(it)).cloned();
        let ancestors: Vec<Value> = ours.chain(others).take(MAX_ANCESTORS).collect();
        if !ancestors.is_empty() {
            status["ancestors"] = json!(ancestors);
        }
        if !self.conditions.is_empty() {
            let before = &before["conditions"];
            status["conditions"] = conditions(&self.conditions, before, generation, now);
        }
        let limits = [
            ("idle", &self.idle),
            ("absolute", &self.absolute),
            ("maxAuthAge", &self.max_auth_age),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                status["effective"][name] = json!({ "value": limit.value, "from": limit.from });
            }
        }
        (status != *before).then_some(status)
    }
}

/// Whether Curfew has written an entry of `ancestors`.
fn is_ours(entry: &Value) -> bool {
    entry["controllerName"] == CONTROLLER
}

fn conditions(conditions: &[Condition], before: &Value, generation: i64, now: &str) -> Value {
    let conditions = conditions.iter().map(|condition| {
        let status = if condition.status { "True" } else { "False" };
        let is_same = |it: &&Value| it["type"] == condition.kind && it["status"] == status;
        let earlier = before.as_array().into_iter().flatten().find(is_same);
        let since = earlier.and_then(|it| it["lastTransitionTime"].as_str());
        json!({
            "type": condition.kind,
            "status": status,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": generation,
            "lastTransitionTime": since.unwrap_or(now),
        })
    });
    conditions.collect()
}

impl Condition {
    /// Whether the policy does not apply.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == "Accepted" && !self.status
    }

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

    /// `Programmed`, with a sentence for each field whose value is not in force, and one about the idle time if there is an
    /// idle limit.
    pub(crate) fn programmed(overridden: &[String], idle_time: &str, has_idle: bool) -> Self {
        let (reason, mut message) = if overridden.is_empty() {
            (
                "Programmed",
                "Checks use the values of the policy.".to_owned(),
            )
        } else {
            ("Overridden", overridden.join(" "))
        };
        if has_idle {
            message = format!("{message} {idle_time}");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_once_and_keeps_its_times() {
        let status = PolicyStatus {
            ancestors: vec![Ancestor {
                target: TargetRef {
                    group: "networking.k8s.io".to_owned(),
                    kind: "Ingress".to_owned(),
                    name: "crm".to_owned(),
                    section_name: None,
                },
                conditions: vec![Condition::accepted(), Condition::programmed(&[], "", false)],
            }],
            idle: Some(EffectiveLimit {
                value: "15m".to_owned(),
                from: "SessionPolicy team/crm".to_owned(),
            }),
            ..PolicyStatus::default()
        };
        let first = status
            .render(&Value::Null, 1, "2026-01-01T00:00:00Z")
            .unwrap();
        assert_eq!(first["ancestors"][0]["controllerName"], CONTROLLER);
        assert_eq!(first["effective"]["idle"]["value"], "15m");
        assert_eq!(status.render(&first, 1, "2026-01-02T00:00:00Z"), None);
        let second = status.render(&first, 2, "2026-01-02T00:00:00Z").unwrap();
        let condition = &second["ancestors"][0]["conditions"][0];
        assert_eq!(condition["observedGeneration"], 2);
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let mut with_other = first.clone();
        let other = json!({ "controllerName": "example.com/other", "conditions": [] });
        with_other["ancestors"]
            .as_array_mut()
            .unwrap()
            .insert(0, other.clone());
        let third = status
            .render(&with_other, 1, "2026-01-02T00:00:00Z")
            .unwrap();
        assert_eq!(third["ancestors"][0], first["ancestors"][0]);
        assert_eq!(third["ancestors"][1], other);
        assert_eq!(status.render(&third, 1, "2026-01-03T00:00:00Z"), None);
        let refused = PolicyStatus {
            conditions: vec![Condition::refused("Invalid", "no".to_owned())],
            ..PolicyStatus::default()
        };
        let before = json!({ "conditions": [{ "type": "Accepted", "status": "True", "lastTransitionTime": "x" }] });
        let third = refused.render(&before, 1, "2026-01-03T00:00:00Z").unwrap();
        let condition = &third["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-03T00:00:00Z");
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("Invalid"))
        );
    }
}
