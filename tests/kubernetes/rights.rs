//! Who may do what, by the roles in `deploy/kubernetes/components/policies`.

use crate::{apply, kubectl, put_namespace, wait_until};

const TEAM: &str = "rights-team";

/// The users: each has one role in the namespace of the team.
const USERS: [(&str, &str); 3] = [("editor", "edit"), ("admin", "admin"), ("viewer", "view")];

const CURFEW: &str = "system:serviceaccount:curfew:curfew";

/// Whether a user may do something, by the server's answer.
fn is_allowed(user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let review = serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": user, "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
        } },
    });
    let arguments = ["create", "-f", "-", "-o", "jsonpath={.status.allowed}"];
    match &*kubectl(&arguments, &review.to_string()) {
        "true" => true,
        "" | "false" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn each_role_allows_what_the_page_says() {
    put_namespace(TEAM, "");
    put_namespace("rights-other", "");
    for (user, role) in USERS {
        let binding = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {user}, namespace: {TEAM}}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}, \
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]}}"
        );
        apply(&binding).unwrap();
    }
    let policies = "sessionpolicies.curfew.dev";
    let ceilings = "clustersessionpolicies.curfew.dev";
    // A controller copies the rules into `edit`, `admin` and `view`.
    wait_until("the roles are aggregated", || {
        is_allowed("viewer", "get", policies, TEAM)
            && is_allowed("editor", "create", policies, TEAM)
            && is_allowed("admin", "create", policies, TEAM)
    });
    for (user, verbs, resource, namespace, expected) in [
        (
            "editor",
            "get list watch create update patch delete",
            policies,
            TEAM,
            true,
        ),
        (
            "admin",
            "get list watch create update patch delete",
            policies,
            TEAM,
            true,
        ),
        ("viewer", "get list watch", policies, TEAM, true),
        (
            "viewer",
            "create update patch delete",
            policies,
            TEAM,
            false,
        ),
        ("editor", "get create", policies, "rights-other", false),
        (
            "editor",
            "update patch",
            "sessionpolicies.curfew.dev/status",
            TEAM,
            false,
        ),
        (
            "admin",
            "update patch",
            "sessionpolicies.curfew.dev/status",
            TEAM,
            false,
        ),
        (
            "editor",
            "get list create update patch delete",
            ceilings,
            "",
            false,
        ),
        ("admin", "create update patch delete", ceilings, "", false),
        ("nobody", "get create", policies, TEAM, false),
        // What Curfew reads and writes.
        (CURFEW, "get list watch", policies, "", true),
        (CURFEW, "get list watch", ceilings, "", true),
        (
            CURFEW,
            "get list watch",
            "ingresses.networking.k8s.io",
            "",
            true,
        ),
        (
            CURFEW,
            "get list watch",
            "ingressclasses.networking.k8s.io",
            "",
            true,
        ),
        (
            CURFEW,
            "get list watch",
            "httproutes.gateway.networking.k8s.io",
            "",
            true,
        ),
        (
            CURFEW,
            "get list watch",
            "grpcroutes.gateway.networking.k8s.io",
            "",
            true,
        ),
        (
            CURFEW,
            "get list watch",
            "gateways.gateway.networking.k8s.io",
            "",
            true,
        ),
        (CURFEW, "get list watch", "namespaces", "", true),
        (CURFEW, "get list watch", "services", "", true),
        (
            CURFEW,
            "patch",
            "sessionpolicies.curfew.dev/status",
            TEAM,
            true,
        ),
        (
            CURFEW,
            "patch",
            "clustersessionpolicies.curfew.dev/status",
            "",
            true,
        ),
        (CURFEW, "create", "events.events.k8s.io", TEAM, true),
        (
            CURFEW,
            "create",
            "leases.coordination.k8s.io",
            "curfew",
            true,
        ),
        // And what it may not.
        (CURFEW, "get list watch", "secrets", "", false),
        (CURFEW, "get list watch", "secrets", "curfew", false),
        (CURFEW, "get list watch", "configmaps", "", false),
        (CURFEW, "get list watch", "pods", "", false),
        (CURFEW, "create update patch delete", policies, TEAM, false),
        (CURFEW, "create update patch delete", ceilings, "", false),
        (
            CURFEW,
            "create update patch delete",
            "ingresses.networking.k8s.io",
            TEAM,
            false,
        ),
        (
            CURFEW,
            "create update patch delete",
            "httproutes.gateway.networking.k8s.io",
            TEAM,
            false,
        ),
        (
            CURFEW,
            "create get update",
            "leases.coordination.k8s.io",
            TEAM,
            false,
        ),
    ] {
        for verb in verbs.split(' ') {
            assert_eq!(
                is_allowed(user, verb, resource, namespace),
                expected,
                "{user}: {verb} {resource} in {namespace:?}"
            );
        }
    }
}
