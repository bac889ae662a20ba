//! Evaluates the admission policies of `deploy/` with a CEL interpreter that has the functions of Kubernetes. The API
//! server also checks types and costs, which this interpreter does not.

use std::collections::HashMap;
use std::time::Duration;

use kube_cel::KubeCelExt;
use kube_cel::cel::objects::Key;
use kube_cel::cel::{self, Context, ExecutionError, Program};

use curfew::policy::Preset;

use super::*;

const LIMITS: &str = "deploy/kubernetes/components/admission/limits.yaml";
const CHECKS: &str = "deploy/kubernetes/components/checks/admission.yaml";
const NGINX: &str = "deploy/nginx/ingress-admission.yaml";

/// The inputs of an admission policy.
#[derive(Clone)]
struct Admission {
    object: Value,
    old_object: Value,
    namespace_labels: Value,
    params: Value,
}

/// Returns a request that creates `object` in a namespace without labels, without parameters.
fn create(object: Value) -> Admission {
    Admission {
        object,
        old_object: Value::Null,
        namespace_labels: json!({}),
        params: Value::Null,
    }
}

impl Admission {
    fn with_params(mut self, spec: Value) -> Self {
        self.params = json!({ "metadata": { "name": "corporate" }, "spec": spec });
        self
    }

    fn in_namespace(mut self, labels: Value) -> Self {
        self.namespace_labels = labels;
        self
    }

    fn replaces(mut self, old_object: Value) -> Self {
        self.old_object = old_object;
        self
    }
}

/// The variables of an evaluation.
struct Evaluation<'a> {
    context: Context<'a>,
    variables: HashMap<String, cel::Value>,
}

impl Evaluation<'_> {
    fn new(admission: &Admission) -> Self {
        let kind = admission.object["kind"].as_str().unwrap();
        let plural = match kind.to_lowercase() {
            name if name.ends_with('s') => format!("{name}es"),
            name => name
                .strip_suffix('y')
                .map_or(format!("{name}s"), |stem| format!("{stem}ies")),
        };
        let namespace = match kind {
            "Namespace" => Value::Null,
            _ => json!({ "metadata": { "labels": admission.namespace_labels } }),
        };
        let mut context = Context::default().with_all();
        context.add_function("dyn", |value: cel::Value| Ok::<_, ExecutionError>(value));
        for (name, value) in [
            ("object", &admission.object),
            ("oldObject", &admission.old_object),
            ("params", &admission.params),
            ("namespaceObject", &namespace),
            (
                "request",
                &json!({ "kind": { "kind": kind }, "resource": { "resource": plural }, "namespace": "team" }),
            ),
        ] {
            context.add_variable_from_value(name, to_cel(value));
        }
        let mut evaluation = Self {
            context,
            variables: HashMap::new(),
        };
        evaluation.publish_variables();
        evaluation
    }

    fn publish_variables(&mut self) {
        let variables = self.variables.clone();
        self.context.add_variable_from_value("variables", variables);
    }

    fn evaluate(&self, expression: &Value) -> cel::Value {
        let text = expression.as_str().unwrap();
        let program = Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let value = program.execute(&self.context);
        value.unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn is_true(&self, expression: &Value) -> bool {
        match self.evaluate(expression) {
            cel::Value::Bool(value) => value,
            other => panic!("{expression}: {other:?}"),
        }
    }

    fn add_variable(&mut self, variable: &Value) {
        let value = self.evaluate(&variable["expression"]);
        let name = variable["name"].as_str().unwrap().to_owned();
        self.variables.insert(name, value);
        self.publish_variables();
    }
}

/// Converts JSON as Kubernetes does: every whole number has a sign.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => value.as_i64().unwrap().into(),
        Value::String(value) => value.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| (key.clone(), to_cel(value)));
            entries.collect::<HashMap<_, _>>().into()
        }
    }
}

fn to_json(value: &cel::Value) -> Value {
    match value {
        cel::Value::String(text) => json!(**text),
        cel::Value::List(items) => items.iter().map(to_json).collect(),
        cel::Value::Map(map) => {
            let entries = map.map.iter();
            let entries = entries.map(|(key, value)| match key {
                Key::String(key) => (key.to_string(), to_json(value)),
                other => panic!("{other:?}"),
            });
            Value::Object(entries.collect())
        }
        other => panic!("{other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the evaluation of the variables of a policy. `None` if the policy does not apply.
fn evaluate_variables<'a>(policy: &Value, admission: &Admission) -> Option<Evaluation<'a>> {
    let mut evaluation = Evaluation::new(admission);
    let conditions = list(&policy["spec"]["matchConditions"]);
    if !conditions
        .iter()
        .all(|it| evaluation.is_true(&it["expression"]))
    {
        return None;
    }
    for variable in list(&policy["spec"]["variables"]) {
        evaluation.add_variable(variable);
    }
    Some(evaluation)
}

/// Returns the messages with which the policies of a file refuse a request.
fn refusals(file: &str, policy: &str, admission: &Admission) -> Vec<String> {
    let policy = read_document(file, "ValidatingAdmissionPolicy", policy);
    let Some(evaluation) = evaluate_variables(&policy, admission) else {
        return Vec::new();
    };
    let failed = list(&policy["spec"]["validations"])
        .iter()
        .filter(|it| !evaluation.is_true(&it["expression"]));
    let messages = failed.map(|it| match &it["messageExpression"] {
        Value::Null => it["message"].as_str().unwrap().to_owned(),
        expression => match evaluation.evaluate(expression) {
            cel::Value::String(message) => message.to_string(),
            other => panic!("{expression}: {other:?}"),
        },
    });
    messages.collect()
}

fn session_policy(spec: Value) -> Value {
    json!({ "kind": "SessionPolicy", "metadata": { "name": "crm" }, "spec": spec })
}

fn annotated(kind: &str, annotations: Value) -> Value {
    json!({ "kind": kind, "metadata": { "name": "crm", "annotations": annotations }, "spec": {} })
}

fn ceiling_refusals(admission: &Admission) -> Vec<String> {
    refusals(LIMITS, "curfew-ceiling", admission)
}

#[test]
fn a_limit_above_the_ceiling_is_refused() {
    let ceiling = json!({ "ceiling": { "idle": "15m", "absolute": "8h", "maxAuthAge": "1h" } });
    for (spec, expected) in [
        (json!({}), &[][..]),
        (json!({ "idle": "14m59s" }), &[]),
        (json!({ "idle": "15m" }), &[]),
        (json!({ "idle": "900s" }), &[]),
        (
            json!({ "idle": "15m1ms" }),
            &["idle is 15m1ms, but ClusterSessionPolicy corporate allows at most 15m"],
        ),
        (
            json!({ "idle": "1h30m", "absolute": "8h" }),
            &["idle is 1h30m, but ClusterSessionPolicy corporate allows at most 15m"],
        ),
        (
            json!({ "absolute": "9h", "maxAuthAge": "61m" }),
            &[
                "absolute is 9h, but ClusterSessionPolicy corporate allows at most 8h",
                "maxAuthAge is 61m, but ClusterSessionPolicy corporate allows at most 1h",
            ],
        ),
        // Curfew leaves out what it cannot read, and so does the policy.
        (json!({ "idle": "soon" }), &[]),
        (json!({ "idle": "1.5h" }), &[]),
        (json!({ "idle": "-1h" }), &[]),
    ] {
        let admission = create(session_policy(spec.clone())).with_params(ceiling.clone());
        assert_eq!(ceiling_refusals(&admission), expected, "{spec}");
    }
}

#[test]
fn the_tightest_ceiling_of_a_cluster_policy_counts() {
    let long = session_policy(json!({ "idle": "20m", "absolute": "10h" }));
    for (spec, expected) in [
        (json!({}), &[][..]),
        (json!({ "ceiling": {} }), &[]),
        (
            json!({ "floor": { "idle": "30m" }, "defaults": { "idle": "5m" } }),
            &[],
        ),
        (json!({ "standards": ["nist-aal1"] }), &[]),
        (json!({ "standards": ["unknown"] }), &[]),
        (
            json!({ "standards": ["pci-dss"] }),
            &["idle is 20m, but ClusterSessionPolicy corporate allows at most 15m"],
        ),
        (
            json!({ "standards": ["pci-dss", "owasp-high"], "ceiling": { "idle": "10m" } }),
            &[
                "idle is 20m, but ClusterSessionPolicy corporate allows at most 5m",
                "absolute is 10h, but ClusterSessionPolicy corporate allows at most 4h",
            ],
        ),
        // Nobody can know the hosts of the routes.
        (
            json!({ "hosts": ["*.pay.example.com"], "ceiling": { "idle": "10m" } }),
            &[],
        ),
        (
            json!({ "hosts": [], "ceiling": { "idle": "20m", "absolute": "10h" } }),
            &[],
        ),
        (
            json!({ "hosts": [], "ceiling": { "absolute": "599m" } }),
            &["absolute is 10h, but ClusterSessionPolicy corporate allows at most 599m"],
        ),
    ] {
        let admission = create(long.clone()).with_params(spec.clone());
        assert_eq!(ceiling_refusals(&admission), expected, "{spec}");
    }
}

#[test]
fn a_ceiling_holds_only_in_the_selected_namespaces() {
    let labels = json!({ "scope": "pci", "stage": "production" });
    for (selector, is_selected) in [
        (json!({}), true),
        (json!({ "matchLabels": {} }), true),
        (json!({ "matchLabels": { "scope": "pci" } }), true),
        (
            json!({ "matchLabels": { "scope": "pci", "stage": "test" } }),
            false,
        ),
        (json!({ "matchLabels": { "team": "crm" } }), false),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "In", "values": ["hr", "pci"] }] }),
            true,
        ),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "In", "values": ["hr"] }] }),
            false,
        ),
        (
            json!({ "matchExpressions": [{ "key": "team", "operator": "In", "values": ["crm"] }] }),
            false,
        ),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "NotIn", "values": ["hr"] }] }),
            true,
        ),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "NotIn", "values": ["pci"] }] }),
            false,
        ),
        (
            json!({ "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["crm"] }] }),
            true,
        ),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "Exists" }] }),
            true,
        ),
        (
            json!({ "matchExpressions": [{ "key": "team", "operator": "Exists" }] }),
            false,
        ),
        (
            json!({ "matchExpressions": [{ "key": "team", "operator": "DoesNotExist" }] }),
            true,
        ),
        (
            json!({ "matchExpressions": [{ "key": "scope", "operator": "DoesNotExist" }] }),
            false,
        ),
        (
            json!({ "matchLabels": { "scope": "pci" }, "matchExpressions": [{ "key": "stage", "operator": "In", "values": ["test"] }] }),
            false,
        ),
    ] {
        let spec = json!({ "namespaceSelector": selector, "ceiling": { "idle": "15m" } });
        let admission = create(session_policy(json!({ "idle": "1h" })))
            .with_params(spec.clone())
            .in_namespace(labels.clone());
        assert_eq!(
            !ceiling_refusals(&admission).is_empty(),
            is_selected,
            "{selector}"
        );
        // A Namespace has the labels itself.
        let mut namespace = annotated("Namespace", json!({ "curfew.dev/idle": "1h" }));
        namespace["metadata"]["labels"] = labels.clone();
        let admission = create(namespace).with_params(spec);
        assert_eq!(
            !ceiling_refusals(&admission).is_empty(),
            is_selected,
            "{selector}"
        );
    }
}

#[test]
fn annotations_have_the_same_ceilings() {
    let ceiling = json!({ "ceiling": { "idle": "15m", "absolute": "8h", "maxAuthAge": "1h" } });
    for kind in ["Ingress", "HTTPRoute", "GRPCRoute", "Service", "Namespace"] {
        for (annotations, count) in [
            (
                json!({ "curfew.dev/idle": "15m", "example.com/idle": "9h" }),
                0,
            ),
            (json!({ "curfew.dev/idle": "16m" }), 1),
            (
                json!({ "curfew.dev/absolute": "9h", "curfew.dev/max-auth-age": "2h" }),
                2,
            ),
            (json!({ "curfew.dev/idle": "soon" }), 0),
            (json!({ "curfew.dev/policy": "payments" }), 0),
        ] {
            let admission =
                create(annotated(kind, annotations.clone())).with_params(ceiling.clone());
            assert_eq!(
                ceiling_refusals(&admission).len(),
                count,
                "{kind} {annotations}"
            );
        }
    }
    let plain = json!({ "kind": "Ingress", "metadata": { "name": "crm" }, "spec": {} });
    assert!(ceiling_refusals(&create(plain).with_params(ceiling)).is_empty());
}

/// A ceiling that comes later must not block controllers that update an old object, such as its finalizers.
#[test]
fn an_old_value_above_a_new_ceiling_blocks_no_other_change() {
    let ceiling = json!({ "ceiling": { "idle": "15m" } });
    let old = session_policy(json!({ "idle": "1h" }));
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({ "team": "crm" });
    let changed = session_policy(json!({ "idle": "2h" }));
    for (object, count) in [(labelled, 0), (changed, 1)] {
        let admission = create(object)
            .with_params(ceiling.clone())
            .replaces(old.clone());
        assert_eq!(ceiling_refusals(&admission).len(), count);
    }
    let old = annotated("Service", json!({ "curfew.dev/idle": "1h" }));
    for (annotations, count) in [
        (
            json!({ "curfew.dev/idle": "1h", "example.com/team": "crm" }),
            0,
        ),
        (json!({}), 0),
        (json!({ "curfew.dev/idle": "2h" }), 1),
    ] {
        let admission = create(annotated("Service", annotations)).with_params(ceiling.clone());
        assert_eq!(
            ceiling_refusals(&admission.replaces(old.clone())).len(),
            count
        );
    }
    let plain = json!({ "kind": "Service", "metadata": { "name": "crm" }, "spec": {} });
    let admission = create(old).with_params(ceiling).replaces(plain);
    assert_eq!(ceiling_refusals(&admission).len(), 1);
}

#[test]
fn unreadable_annotations_are_refused() {
    for (annotations, expected) in [
        (
            json!({ "curfew.dev/idle": "1h30m", "curfew.dev/policy": "payments" }),
            &[][..],
        ),
        (json!({ "example.com/idle": "soon" }), &[]),
        (
            json!({ "curfew.dev/idle": "soon" }),
            &["curfew.dev/idle must be a duration such as 15m or 1h30m, of at most 9600h"],
        ),
        (
            json!({ "curfew.dev/max-auth-age": "0s" }),
            &["curfew.dev/max-auth-age must be a duration such as 15m or 1h30m, of at most 9600h"],
        ),
        (
            json!({ "curfew.dev/absolute": "9601h" }),
            &["curfew.dev/absolute must be a duration such as 15m or 1h30m, of at most 9600h"],
        ),
        (json!({ "curfew.dev/absolute": "9600h" }), &[]),
        (
            json!({ "curfew.dev/idel": "5m" }),
            &[
                "curfew.dev/idel is not an annotation of Curfew: curfew.dev/idle, curfew.dev/absolute, curfew.dev/max-auth-age, curfew.dev/policy",
            ],
        ),
    ] {
        let admission = create(annotated("Ingress", annotations.clone()));
        let found = refusals(LIMITS, "curfew-annotations", &admission);
        assert_eq!(found, expected, "{annotations}");
    }
}

#[test]
fn the_presets_of_the_policy_are_those_of_curfew() {
    let policy = read_document(LIMITS, "ValidatingAdmissionPolicy", "curfew-ceiling");
    let admission = create(session_policy(json!({}))).with_params(json!({}));
    let evaluation = evaluate_variables(&policy, &admission).unwrap();
    let presets = to_json(&evaluation.variables["presets"]);
    assert_eq!(presets.as_object().unwrap().len(), Preset::ALL.len());
    let parse = |text: &Value| humantime::parse_duration(text.as_str().unwrap()).unwrap();
    for preset in Preset::ALL {
        let limits = &presets[preset.name];
        let idle: Option<Duration> = limits.get("idle").map(parse);
        assert_eq!(idle, preset.idle, "{}", preset.name);
        assert_eq!(
            parse(&limits["absolute"]),
            preset.absolute,
            "{}",
            preset.name
        );
    }
}

/// An error must not block writes, because Curfew applies the ceilings itself. For the checks, nothing else does.
#[test]
fn only_the_policy_that_protects_checks_fails_closed() {
    for (file, name, failure_policy) in [
        (LIMITS, "curfew-ceiling", "Ignore"),
        (LIMITS, "curfew-annotations", "Ignore"),
        (CHECKS, "curfew-checks", "Fail"),
    ] {
        let policy = read_document(file, "ValidatingAdmissionPolicy", name);
        assert_eq!(policy["spec"]["failurePolicy"], failure_policy);
        let binding = read_document(file, "ValidatingAdmissionPolicyBinding", name);
        assert_eq!(binding["spec"]["policyName"], name);
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    }
    let binding = read_document(LIMITS, "ValidatingAdmissionPolicyBinding", "curfew-ceiling");
    let params = json!({ "selector": {}, "parameterNotFoundAction": "Allow" });
    assert_eq!(binding["spec"]["paramRef"], params);
}

#[test]
fn annotations_that_switch_a_check_off_are_refused() {
    let url = "http://curfew.curfew.svc.cluster.local:9180";
    for (annotations, count) in [
        (json!({}), 0),
        (
            json!({ "nginx.ingress.kubernetes.io/proxy-body-size": "8m" }),
            0,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/enable-global-auth": "true" }),
            0,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/enable-global-auth": "false" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/enable-global-auth": "F" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-url": format!("{url}/forward-auth") }),
            0,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-url": format!("{url}/policy/pci-dss/forward-auth") }),
            0,
        ),
        (json!({ "nginx.ingress.kubernetes.io/auth-url": "" }), 1),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-url": "http://team.team.svc:80/forward-auth" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-url": format!("{url}.example.com/forward-auth") }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-url": format!("{url}/forward-auth#\nx") }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/auth-snippet": "return 200;" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/configuration-snippet": "satisfy any; allow all;" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/server-snippet": "satisfy any; allow all;" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/ssl-passthrough": "true" }),
            1,
        ),
        (json!({ "nginx.ingress.kubernetes.io/satisfy": "any" }), 1),
        (
            json!({ "nginx.ingress.kubernetes.io/custom-http-errors": "404,503" }),
            0,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/custom-http-errors": "404, 401" }),
            1,
        ),
        (
            json!({ "nginx.ingress.kubernetes.io/custom-http-errors": "403" }),
            1,
        ),
        (
            json!({ "haproxy-ingress.github.io/ssl-redirect": "true" }),
            0,
        ),
        (json!({ "haproxy-ingress.github.io/auth-url": "" }), 1),
        (json!({ "ingress.kubernetes.io/auth-url": "" }), 1),
        (
            json!({ "haproxy-ingress.github.io/auth-external-placement": "frontend" }),
            1,
        ),
        (
            json!({ "haproxy-ingress.github.io/config-backend-late": "" }),
            1,
        ),
        (json!({ "ingress.kubernetes.io/config-backend": "" }), 1),
        (
            json!({ "haproxy-ingress.github.io/oauth": "oauth2_proxy" }),
            1,
        ),
        (
            json!({ "haproxy-ingress.github.io/ssl-passthrough": "true" }),
            1,
        ),
        (
            json!({ "haproxy-ingress.github.io/tcp-service-port": "7000" }),
            1,
        ),
    ] {
        for kind in ["Ingress", "Service"] {
            let admission = create(annotated(kind, annotations.clone()));
            let found = refusals(CHECKS, "curfew-checks", &admission);
            assert_eq!(found.len(), count, "{kind} {annotations}: {found:?}");
        }
    }
    let mut deleted = annotated(
        "Ingress",
        json!({ "haproxy-ingress.github.io/auth-url": "" }),
    );
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-30T00:00:00Z");
    assert!(refusals(CHECKS, "curfew-checks", &create(deleted)).is_empty());
    let plain = json!({ "kind": "Ingress", "metadata": { "name": "crm" }, "spec": {} });
    assert!(refusals(CHECKS, "curfew-checks", &create(plain)).is_empty());
}

#[test]
fn security_policies_without_the_check_are_refused() {
    let reference = json!({ "name": "curfew", "namespace": "curfew", "port": 9180 });
    let http = json!({ "backendRefs": [reference], "path": "/ext-authz" });
    let grpc =
        json!({ "backendRefs": [{ "name": "curfew", "namespace": "curfew", "port": 9181 }] });
    for (spec, is_refused) in [
        (json!({}), true),
        (json!({ "cors": {} }), true),
        (json!({ "extAuth": {} }), true),
        (
            json!({ "extAuth": { "http": { "backendRefs": [] } } }),
            true,
        ),
        (json!({ "extAuth": { "http": http } }), false),
        (
            json!({ "cors": {}, "extAuth": { "grpc": grpc, "failOpen": false } }),
            false,
        ),
        (
            json!({ "extAuth": { "http": http, "failOpen": true } }),
            true,
        ),
        (
            json!({ "extAuth": { "http": http, "recomputeRoute": true } }),
            true,
        ),
        // The namespace of the policy is not Curfew's.
        (
            json!({ "extAuth": { "http": { "backendRefs": [{ "name": "curfew", "port": 9180 }] } } }),
            true,
        ),
        (
            json!({ "extAuth": { "http": { "backendRefs": [reference, { "name": "allow", "namespace": "curfew", "port": 9180 }] } } }),
            true,
        ),
        (
            json!({ "extAuth": { "http": { "backendRefs": [{ "name": "curfew", "namespace": "curfew", "port": 9183 }] } } }),
            true,
        ),
    ] {
        let policy =
            json!({ "kind": "SecurityPolicy", "metadata": { "name": "crm" }, "spec": spec });
        let found = refusals(CHECKS, "curfew-checks", &create(policy));
        assert_eq!(!found.is_empty(), is_refused, "{spec}: {found:?}");
    }
}

#[test]
fn routes_of_contour_without_the_check_are_refused() {
    let route = |policy: Value| json!({ "routes": [{}, { "authPolicy": policy }] });
    for (spec, is_refused) in [
        (json!({}), false),
        (
            json!({ "virtualhost": { "fqdn": "crm.example.com" } }),
            false,
        ),
        (route(json!({})), false),
        (route(json!({ "disabled": false })), false),
        (route(json!({ "context": { "policy": "payments" } })), false),
        (route(json!({ "disabled": true })), true),
        (json!({ "tcpproxy": { "services": [] } }), true),
        (
            json!({ "virtualhost": { "authorization": { "extensionRef": { "name": "other" } } } }),
            true,
        ),
        (
            json!({ "virtualhost": { "authorization": { "authPolicy": { "disabled": true } } } }),
            true,
        ),
    ] {
        let proxy = json!({ "kind": "HTTPProxy", "metadata": { "name": "crm" }, "spec": spec });
        let found = refusals(CHECKS, "curfew-checks", &create(proxy));
        assert_eq!(!found.is_empty(), is_refused, "{spec}: {found:?}");
    }
}

/// The files that attach the check work together with the policy that protects it.
#[test]
fn the_files_for_teams_pass_the_policy() {
    for (file, kind, name) in [
        ("deploy/nginx/ingress.yaml", "Ingress", "application"),
        (
            "deploy/traefik/ingress-nginx.yaml",
            "Ingress",
            "application-traefik",
        ),
    ] {
        let object = read_document(file, kind, name);
        let found = refusals(CHECKS, "curfew-checks", &create(object));
        assert!(found.is_empty(), "{file}: {found:?}");
    }
    let binding = read_document(CHECKS, "ValidatingAdmissionPolicyBinding", "curfew-checks");
    let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0];
    let excluded = sorted_names(&selector["values"]);
    for (file, kind, name) in [
        (
            "deploy/nginx/ingress-global.yaml",
            "Ingress",
            "curfew-browser",
        ),
        (
            "deploy/haproxy/ingress-global.yaml",
            "Ingress",
            "curfew-browser-haproxy",
        ),
        (
            "deploy/gateway-api/envoy-gateway-global.yaml",
            "SecurityPolicy",
            "curfew",
        ),
        (
            "deploy/gateway-api/envoy-gateway-global.yaml",
            "SecurityPolicy",
            "curfew-browser",
        ),
        ("deploy/contour/contour.yaml", "HTTPProxy", "curfew-browser"),
    ] {
        let object = read_document(file, kind, name);
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        assert!(
            excluded.contains(&namespace.to_owned()),
            "{file}: {namespace}"
        );
    }
}

#[test]
fn the_missing_annotations_are_added() {
    let policy = read_document(NGINX, "MutatingAdmissionPolicy", "curfew-ingress-nginx");
    let expected = read_document("deploy/nginx/ingress.yaml", "Ingress", "application");
    let expected = expected["metadata"]["annotations"].as_object().unwrap();
    // The interpreter has no type JSONPatch. A map has the same fields.
    let mutation = policy["spec"]["mutations"][0]["jsonPatch"]["expression"].as_str();
    let mutation = mutation
        .unwrap()
        .replace("JSONPatch{op:", "{'op':")
        .replace(" path:", " 'path':")
        .replace(" value:", " 'value':");
    let patches = |object: Value| {
        let evaluation = evaluate_variables(&policy, &create(object))?;
        Some(to_json(&evaluation.evaluate(&json!(mutation))))
    };
    let ingress = |class: &str, annotations: Value| {
        let mut ingress = annotated("Ingress", annotations);
        ingress["spec"] = json!({ "ingressClassName": class });
        ingress
    };
    assert!(patches(ingress("traefik", json!({}))).is_none());
    assert!(
        patches(annotated(
            "Ingress",
            json!({ "kubernetes.io/ingress.class": "haproxy" })
        ))
        .is_none()
    );
    for (object, creates_map) in [
        (
            annotated("Ingress", json!({ "kubernetes.io/ingress.class": "nginx" })),
            false,
        ),
        (ingress("nginx", json!({})), false),
        (
            json!({ "kind": "Ingress", "metadata": {}, "spec": { "ingressClassName": "nginx" } }),
            true,
        ),
    ] {
        let found = patches(object).unwrap();
        let mut found = list(&found).to_vec();
        if creates_map {
            assert_eq!(
                found.remove(0),
                json!({ "op": "add", "path": "/metadata/annotations", "value": {} })
            );
        }
        assert_eq!(found.len(), expected.len());
        for patch in found {
            assert_eq!(patch["op"], "add");
            let path = patch["path"].as_str().unwrap();
            let key = path.strip_prefix("/metadata/annotations/").unwrap();
            assert!(!key.contains('/'), "{key}");
            let key = key.replace("~1", "/");
            let value = match key.strip_prefix("nginx.ingress.kubernetes.io/") {
                Some("auth-proxy-set-headers") => &json!("team/curfew-request"),
                _ => &expected[&key],
            };
            assert_eq!(patch["value"], *value, "{key}");
        }
    }
    // A value of the team stays.
    let other = json!({ "nginx.ingress.kubernetes.io/proxy-buffer-size": "128k" });
    let found = patches(ingress("nginx", other)).unwrap();
    assert_eq!(list(&found).len(), expected.len() - 1);
    let all: Value = json!(expected);
    assert_eq!(patches(ingress("nginx", all)), Some(json!([])));
}
