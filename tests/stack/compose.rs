//! Reads and tests `docker-compose.yml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::deployment::installed_path;

const FILE: &str = "docker-compose.yml";

/// The proxies, and the published port of each proxy.
pub const PROXIES: [(&str, u16); 5] = [
    ("nginx", 8081),
    ("traefik", 8082),
    ("envoy", 8083),
    ("haproxy", 8084),
    ("caddy", 8085),
];

pub struct Compose(Value);

/// A mounted file or volume, and its path in the container.
pub struct Mount {
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

impl Compose {
    pub fn read() -> Self {
        let output = Command::new(installed_path("bin/node"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["tests/manifests/check.mjs", "--json", FILE])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
        Self(parsed[FILE][0].take())
    }

    pub fn service(&self, name: &str) -> &Value {
        let service = &self.0["services"][name];
        assert!(service.is_object(), "there is no service {name}");
        service
    }

    fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0["services"].as_object().unwrap().iter()
    }

    pub fn string_list(&self, service: &str, key: &str) -> Vec<String> {
        let list = self.service(service)[key].as_array();
        let words = list.into_iter().flatten();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    }

    pub fn environment(&self, service: &str) -> BTreeMap<String, String> {
        let map = self.service(service)["environment"].as_object();
        let pairs = map.into_iter().flatten();
        pairs
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    }

    pub fn mounts(&self, service: &str) -> Vec<Mount> {
        let lines = self.string_list(service, "volumes").into_iter();
        lines
            .map(|line| {
                let mut parts = line.split(':').map(str::to_owned);
                Mount {
                    source: parts.next().unwrap(),
                    target: parts.next().unwrap(),
                    read_only: parts.next().as_deref() == Some("ro"),
                }
            })
            .collect()
    }

    /// Returns the files of this repository that a service mounts: the file name in the container, and the content.
    pub fn read_mounted_files(&self, service: &str) -> Vec<(String, String)> {
        let mounts = self.mounts(service).into_iter();
        let files = mounts.filter(|mount| mount.source.starts_with("./"));
        files
            .map(|mount| {
                let name = mount.target.rsplit('/').next().unwrap().to_owned();
                let path = repository_root().join(&mount.source);
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect()
    }
}

fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn docker_compose_accepts_the_file() {
    for profile_arguments in [&[][..], &["--profile", "observability"]] {
        let output = Command::new("docker-compose")
            .current_dir(repository_root())
            .args(["-f", FILE])
            .args(profile_arguments)
            .args(["config", "--quiet"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
    }
}

/// The name of the project does not depend on the name of the directory.
#[test]
fn the_project_has_a_name() {
    let file = std::fs::read_to_string(repository_root().join(".env")).unwrap();
    let settings: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(settings, ["COMPOSE_PROJECT_NAME=curfew"]);
    // docker-compose 1.29 rejects this key.
    assert!(Compose::read().0["name"].is_null());
}

/// One service builds each image. The other services with this image start after that service, and never ask a registry.
#[test]
fn each_image_is_built_once() {
    let compose = Compose::read();
    let builders = |image: &Value| {
        let services = compose.services();
        let builders = services.filter(|(_, it)| it["image"] == *image && it["build"].is_object());
        builders.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut count = 0;
    for (name, service) in compose.services() {
        let image = &service["image"];
        if !image.as_str().unwrap().starts_with("curfew") {
            continue;
        }
        let [builder] = &builders(image)[..] else {
            panic!("{image} is built by {:?}", builders(image));
        };
        if name != builder {
            assert_eq!(service["pull_policy"], "never", "{name}");
            assert!(service["depends_on"][builder].is_object(), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 4);
}

/// Images in the OCI format have no health check, so no service relies on the health check of the Dockerfile.
#[test]
fn the_replicas_have_the_health_check_of_the_dockerfile() {
    let dockerfile = std::fs::read_to_string(repository_root().join("Dockerfile")).unwrap();
    let (_, check) = dockerfile.split_once("\nHEALTHCHECK ").unwrap();
    let (_, command) = check.split_once("CMD ").unwrap();
    let command: Value = serde_json::from_str(command.lines().next().unwrap()).unwrap();
    let compose = Compose::read();
    for name in ["curfew-1", "curfew-2"] {
        let test = compose.service(name)["healthcheck"]["test"].as_array();
        let (first, words) = test.unwrap().split_first().unwrap();
        assert_eq!(first, "CMD");
        assert_eq!(Value::from(words), command, "{name}");
    }
    assert_eq!(compose.service("keys")["healthcheck"]["disable"], true);
}

/// Each mounted file exists, is part of `deploy/`, and is read-only in the container.
#[test]
fn mounted_files_are_from_deploy() {
    let compose = Compose::read();
    let mut mounted = Vec::new();
    for (name, _) in compose.services() {
        for mount in compose.mounts(name) {
            let Some(file) = mount.source.strip_prefix("./") else {
                let volumes = compose.0["volumes"].as_object().unwrap();
                assert!(volumes.contains_key(&mount.source), "{}", mount.source);
                continue;
            };
            assert!(file.starts_with("deploy/"), "{file}");
            assert!(repository_root().join(file).is_file(), "{file}");
            assert!(mount.read_only, "{file}");
            mounted.push(file.to_owned());
        }
    }
    for file in [
        "deploy/compose/curfew.yaml",
        "deploy/nginx/curfew.conf",
        "deploy/traefik/traefik.yaml",
        "deploy/traefik/curfew.yaml",
        "deploy/envoy/grpc.yaml",
        "deploy/haproxy/haproxy.cfg",
        "deploy/haproxy/curfew-spoe.conf",
        "deploy/caddy/Caddyfile",
        "deploy/prometheus/prometheus.yaml",
        "deploy/helm/curfew/files/alerts.yaml",
        "deploy/helm/curfew/files/dashboard.json",
    ] {
        assert!(mounted.iter().any(|it| it == file), "{file}");
    }
}

/// No port is reachable from other machines, and no port is used twice. Curfew allows each port in return addresses.
#[test]
fn ports_are_published_on_loopback_only() {
    let compose = Compose::read();
    let mut published = Vec::new();
    for (name, _) in compose.services() {
        for port in compose.string_list(name, "ports") {
            let rest = port.strip_prefix("127.0.0.1:");
            let (outside, inside) = rest.unwrap().split_once(':').unwrap();
            published.push((
                name.clone(),
                outside.parse::<u16>().unwrap(),
                inside.to_owned(),
            ));
        }
    }
    for (name, port) in PROXIES {
        assert!(published.contains(&(name.to_owned(), port, "8080".to_owned())));
    }
    let mut ports: Vec<u16> = published.iter().map(|(_, port, _)| *port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [3001, 8081, 8082, 8083, 8084, 8085, 9090]);
    let configuration = &compose.read_mounted_files("curfew-1")[0].1;
    for (_, port) in PROXIES {
        assert!(
            configuration.contains(&format!("\"localhost:{port}\"")),
            "{port}"
        );
    }
}

/// No service starts before its dependencies. Each service has a health check, except `keys`, which only creates files,
/// and the application.
#[test]
fn services_wait_for_dependencies_and_have_health_checks() {
    let compose = Compose::read();
    for (name, service) in compose.services() {
        let dependencies = service["depends_on"].as_object();
        for (dependency, options) in dependencies.into_iter().flatten() {
            let needed_service = compose.service(dependency);
            let condition = options["condition"].as_str().unwrap();
            let checked = needed_service["healthcheck"]["test"].is_array();
            assert_eq!(
                condition == "service_healthy",
                checked,
                "{name} needs {dependency}"
            );
        }
        // The application has no program for a health check, but the services that depend on it also wait for the
        // rest of the stack.
        if !["keys", "application"].contains(&name.as_str()) {
            assert_eq!(service["healthcheck"]["test"][0], "CMD", "{name}");
        }
    }
    for name in ["curfew-1", "curfew-2"] {
        let service = compose.service(name);
        assert_eq!(
            service["healthcheck"]["test"],
            serde_json::json!(["CMD", "/usr/local/bin/curfew", "healthcheck"])
        );
        assert_eq!(service["networks"]["default"]["aliases"][0], "curfew");
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"][0], "ALL");
    }
    let image = std::fs::read_to_string(repository_root().join("Dockerfile")).unwrap();
    let target = &compose.service("keys")["build"]["target"];
    assert!(image.contains(&format!(" AS {}\n", target.as_str().unwrap())));
}
