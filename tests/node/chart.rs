//! The Helm chart, installed with Helm.

use crate::load::{Service, check_without_session};
use crate::pods::Process;
use crate::support::eventually;
use crate::support::kubectl::{kubectl, run};
use crate::{NAMESPACE, Namespace, pods, start_redis};

/// Runs Helm, and returns its output.
fn helm(arguments: &[&str]) -> String {
    let output = run(
        "helm",
        &[arguments, &["--namespace", NAMESPACE]].concat(),
        "",
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "helm {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

const CHART: &str = "deploy/helm/curfew";
const WAIT: [&str; 3] = ["--wait", "--timeout", "120s"];
const REDIS: [&str; 6] = [
    "--set",
    "redis.url=redis://redis.redis.svc.cluster.local:6379",
    "--set",
    "redis.password=true",
    "--set",
    "secret.existing=curfew",
];

/// The restrictions that the kernel applies to the processes.
fn assert_restricted() {
    let processes = Process::list();
    assert!(!processes.is_empty());
    for process in processes {
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(
                process.status(capabilities),
                "0000000000000000",
                "{capabilities}"
            );
        }
        assert_eq!(process.status("NoNewPrivs"), "1");
        // A filter of system calls.
        assert_eq!(process.status("Seccomp"), "2");
        assert_eq!(process.status("Uid"), "65532 65532 65532 65532");
        assert_eq!(process.status("Gid"), "65532 65532 65532 65532");
        let options = process.mount_options("/");
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
        let token = "var/run/secrets/kubernetes.io";
        assert!(!process.root().join(token).exists(), "the pod has a token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_tested_updated_and_removed() {
    start_redis();
    let namespace = Namespace::create();
    // A trial, with sessions in memory.
    helm(
        &[
            &["install", "curfew", CHART, "--set", "replicas=1"],
            &WAIT[..],
        ]
        .concat(),
    );
    assert!(helm(&["test", "curfew", "--timeout", "60s"]).contains("Succeeded"));
    eventually("the Service denies a check without a session", async || {
        check_without_session().await == Some(401)
    })
    .await;
    assert_restricted();

    // From memory to Redis.
    helm(&[&["upgrade", "curfew", CHART], &REDIS[..], &WAIT].concat());
    assert!(helm(&["test", "curfew", "--timeout", "60s"]).contains("Succeeded"));
    eventually("only the new pods exist", async || pods::list().len() == 2).await;
    assert_eq!((pods::count_ready(), pods::count_restarts()), (2, 0));
    assert_restricted();
    let service = Service::start(&namespace).await;

    // A change of the limits, without new pods.
    let names = || -> Vec<String> {
        pods::list()
            .iter()
            .map(|pod| pod["metadata"]["name"].to_string())
            .collect()
    };
    let before = names();
    let counts = service
        .during("helm upgrade: limits", || {
            let limits = [
                "--reuse-values",
                "--set",
                "config.policies.default.idle=20m",
            ];
            helm(&[&["upgrade", "curfew", CHART], &limits[..], &WAIT].concat());
        })
        .await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    assert_eq!(names(), before);

    // New pods, and back.
    let counts = service
        .during("helm upgrade: new pods", || {
            let annotation = ["--reuse-values", "--set", "podAnnotations.version=two"];
            helm(&[&["upgrade", "curfew", CHART], &annotation[..], &WAIT].concat());
        })
        .await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    let counts = service
        .during("helm rollback", || {
            helm(&[&["rollback", "curfew"], &WAIT[..]].concat());
        })
        .await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    assert_eq!(pods::count_restarts(), 0);

    helm(&["uninstall", "curfew", "--wait"]);
    let kinds = "deployments,services,configmaps,networkpolicies,poddisruptionbudgets";
    let arguments = ["get", kinds, "--namespace", NAMESPACE, "--output", "name"];
    // The cluster itself owns this object.
    assert_eq!(kubectl(&arguments, "").trim(), "configmap/kube-root-ca.crt");
}
