//! Compares Traefik's labels, custom resources and annotations with the file that other tests run.

use serde_json::Map;

use super::*;

const FILE: &str = "deploy/traefik/curfew.yaml";
const COMPOSE: &str = "deploy/traefik/docker-compose.yaml";
const KUBERNETES: &str = "deploy/traefik/kubernetes.yaml";

fn read_file_configuration() -> Value {
    read_documents(FILE).remove(0)["http"].take()
}

/// Returns the path and the port of an address.
fn path_and_port(address: &Value) -> (String, u16) {
    let url = reqwest::Url::parse(address.as_str().unwrap()).unwrap();
    (url.path().to_owned(), url.port().unwrap())
}

#[test]
fn the_labels_equal_the_file() {
    let compose = read_documents(COMPOSE).remove(0);
    let labels = ["application", "curfew"].into_iter().flat_map(|service| {
        let labels = compose["services"][service]["labels"].as_object();
        labels.unwrap().clone()
    });
    // Traefik reads the label `traefik.http.a.b` as {a: {b: …}}.
    let mut label_tree = json!({});
    for (label, value) in labels {
        let Some(path) = label.strip_prefix("traefik.http.") else {
            assert_eq!((&*label, &value), ("traefik.enable", &json!("true")));
            continue;
        };
        let mut node = &mut label_tree;
        for part in path.split('.') {
            node = &mut node[part.to_lowercase()];
        }
        *node = value;
    }
    let file = read_file_configuration();
    for (name, router) in file["routers"].as_object().unwrap() {
        let label = &label_tree["routers"][name];
        assert_eq!(label["rule"], router["rule"]);
        assert_eq!(label["service"], router["service"]);
        let middlewares = label["middlewares"].as_str();
        let middlewares: Option<Vec<&str>> = middlewares.map(|names| names.split(',').collect());
        assert_eq!(json!(middlewares), router["middlewares"]);
    }
    assert_eq!(label_tree["routers"].as_object().unwrap().len(), 4);
    let port = &label_tree["services"]["curfew-browser"]["loadbalancer"]["server"]["port"];
    assert_eq!(*port, "9183");
    let (label, middleware) = (
        &label_tree["middlewares"]["curfew"]["forwardauth"],
        &file["middlewares"]["curfew"]["forwardAuth"],
    );
    assert_eq!(
        path_and_port(&label["address"]),
        path_and_port(&middleware["address"])
    );
    for (name, option) in [
        ("trustforwardheader", "trustForwardHeader"),
        ("maxresponsebodysize", "maxResponseBodySize"),
    ] {
        assert_eq!(label[name], middleware[option].to_string(), "{name}");
    }
    let headers: Vec<&str> = label["authresponseheaders"]
        .as_str()
        .unwrap()
        .split(',')
        .collect();
    assert_eq!(json!(headers), middleware["authResponseHeaders"]);
    let cleared_headers = &file["middlewares"]["no-identity"]["headers"]["customRequestHeaders"];
    let cleared_headers: Map<String, Value> = cleared_headers
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    let label = &label_tree["middlewares"]["no-identity"]["headers"]["customrequestheaders"];
    assert_eq!(label, &Value::Object(cleared_headers));

    let static_configuration = read_documents("deploy/traefik/traefik.yaml").remove(0);
    let strategy = &static_configuration["entryPoints"]["web"]["http"]["aliasHeadersStrategy"];
    let flag = format!(
        "--entryPoints.web.http.aliasHeadersStrategy={}",
        strategy.as_str().unwrap()
    );
    let command = compose["services"]["traefik"]["command"]
        .as_array()
        .unwrap();
    assert!(command.contains(&json!(flag)), "{command:?}");
    let transport = &static_configuration["entryPoints"]["web"]["transport"];
    let flag = format!(
        "--entryPoints.web.transport.respondingTimeouts.readTimeout={}",
        transport["respondingTimeouts"]["readTimeout"]
            .as_str()
            .unwrap()
    );
    assert!(command.contains(&json!(flag)), "{command:?}");
}

#[test]
fn the_custom_resources_equal_the_file() {
    let file = read_file_configuration();
    let mut curfew = read_document(KUBERNETES, "Middleware", "curfew")["spec"].take();
    let mut expected = file["middlewares"]["curfew"].clone();
    let (resource_address, file_address) = (
        curfew["forwardAuth"]["address"].take(),
        expected["forwardAuth"]["address"].take(),
    );
    assert_eq!(
        path_and_port(&resource_address),
        path_and_port(&file_address)
    );
    assert_eq!(curfew, expected);
    assert_eq!(
        sorted_names(&curfew["forwardAuth"]["authResponseHeaders"]),
        identity_headers()
    );
    let no_identity = read_document(KUBERNETES, "Middleware", "no-identity");
    assert_eq!(no_identity["spec"], file["middlewares"]["no-identity"]);

    let route = read_document(KUBERNETES, "IngressRoute", "application");
    for (route, name) in [(0, "application"), (1, "sign-in")]
        .map(|(index, name)| (&route["spec"]["routes"][index], name))
    {
        let router = &file["routers"][name];
        let rule = format!(
            "Host(`app.example.com`) && {}",
            router["rule"].as_str().unwrap()
        );
        assert_eq!(route["match"], rule);
        let middlewares = route["middlewares"].as_array().unwrap().iter();
        let middlewares: Vec<&Value> = middlewares.map(|middleware| &middleware["name"]).collect();
        assert_eq!(json!(middlewares), router["middlewares"]);
    }
    let browser = read_document(KUBERNETES, "IngressRoute", "curfew-browser");
    let route = &browser["spec"]["routes"][0];
    let rule = file["routers"]["browser"]["rule"].as_str().unwrap();
    assert_eq!(route["match"], format!("Host(`app.example.com`) && {rule}"));
    assert!(route["middlewares"].is_null() && file["routers"]["browser"]["middlewares"].is_null());
    assert_eq!(route["services"][0]["port"], 9183);
}

/// Traefik can read the annotations of ingress-nginx. So the Ingress for Traefik has the annotations of the Ingress for
/// ingress-nginx, except those that Traefik ignores.
#[test]
fn the_annotations_equal_those_for_ingress_nginx() {
    let annotations = |file: &str, name: &str| {
        let ingress = read_document(file, "Ingress", name);
        ingress["metadata"]["annotations"].clone()
    };
    let (traefik, nginx) = (
        annotations("deploy/traefik/ingress-nginx.yaml", "application-traefik"),
        annotations("deploy/nginx/ingress.yaml", "application"),
    );
    for (name, value) in traefik.as_object().unwrap() {
        assert_eq!(*value, nginx[name], "{name}");
    }
    let middleware = read_document(
        "deploy/traefik/ingress-nginx.yaml",
        "ConfigMap",
        "no-identity",
    );
    let text = middleware["data"]["no-identity.yaml"].as_str().unwrap();
    for name in identity_headers() {
        assert!(
            text.to_lowercase().contains(&format!("{name}: \"\"")),
            "{text}"
        );
    }
}

/// The files for the providers of Traefik have the same Middlewares, and options that separate namespaces.
#[test]
fn all_providers_have_the_same_middlewares() {
    for file in [
        "deploy/traefik/ingress.yaml",
        "deploy/traefik/gateway-api.yaml",
    ] {
        for name in ["curfew", "no-identity"] {
            let [here, expected] =
                [file, KUBERNETES].map(|file| read_document(file, "Middleware", name));
            assert_eq!(here, expected, "{file}");
        }
        let text = std::fs::read_to_string(file).unwrap();
        for option in [
            "--providers.kubernetescrd.safenaming=true",
            "--entryPoints.web.transport.respondingTimeouts.readTimeout=1h",
            "--entryPoints.web.http.aliasHeadersStrategy=delete",
        ] {
            assert!(
                text.contains(&format!("\n#   {option}\n")),
                "{file}: {option}"
            );
        }
    }
}

/// Without `safenaming`, a tenant could replace a Middleware of another namespace.
#[test]
fn static_configurations_separate_namespaces() {
    let kubernetes = std::fs::read_to_string(KUBERNETES).unwrap();
    assert!(kubernetes.contains("--providers.kubernetescrd.safenaming=true"));
    for file in ["deploy/traefik/traefik.yaml", COMPOSE] {
        let text = std::fs::read_to_string(file).unwrap().to_lowercase();
        let crd = text.contains("kubernetescrd");
        assert_eq!(crd, text.contains("safenaming"), "{file}");
    }
}

/// The middlewares of the entry point equal those of the file, and no resource of a cluster can replace them.
#[test]
fn the_entry_point_has_the_middlewares_of_the_file() {
    const GLOBAL: &str = "deploy/traefik/kubernetes-global.yaml";
    let config = read_document(GLOBAL, "ConfigMap", "curfew");
    let text = config["data"]["curfew.yaml"].as_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("curfew.yaml");
    std::fs::write(&path, text).unwrap();
    let mut global = read_documents(path.to_str().unwrap()).remove(0)["http"]["middlewares"].take();
    let mut file = read_file_configuration()["middlewares"].take();
    let [global_address, file_address] = [&mut global, &mut file]
        .map(|middlewares| path_and_port(&middlewares["curfew"]["forwardAuth"]["address"].take()));
    assert_eq!(global_address, file_address);
    assert_eq!(global, file);
    // The identity headers of the client are removed before the check sets them.
    let options = std::fs::read_to_string(GLOBAL).unwrap();
    for option in [
        "--providers.file.filename=/etc/curfew/curfew.yaml",
        "--entryPoints.web.http.middlewares=no-identity@file,curfew@file",
        "--entryPoints.web.http.aliasHeadersStrategy=delete",
    ] {
        assert!(options.contains(&format!("\n#   {option}\n")), "{option}");
    }
}

/// The global keys of ingress-nginx equal the annotations, and the snippet equals the ConfigMap `curfew-request`.
#[test]
fn the_global_keys_of_ingress_nginx_equal_the_annotations() {
    const INGRESS: &str = "deploy/nginx/ingress.yaml";
    const GLOBAL: &str = "deploy/nginx/ingress-global.yaml";
    let global = read_document(GLOBAL, "ConfigMap", "ingress-nginx-controller")["data"].take();
    let ingress = read_document(INGRESS, "Ingress", "application");
    let annotation = |name: &str| {
        ingress["metadata"]["annotations"][format!("nginx.ingress.kubernetes.io/{name}")].clone()
    };
    for name in [
        "auth-url",
        "auth-response-headers",
        "auth-always-set-cookie",
    ] {
        assert_eq!(global[format!("global-{name}")], annotation(name), "{name}");
    }
    assert_eq!(global["proxy-buffer-size"], annotation("proxy-buffer-size"));
    let controller = read_document(INGRESS, "ConfigMap", "ingress-nginx-controller");
    for (name, value) in controller["data"].as_object().unwrap() {
        assert_eq!(global[name], *value, "{name}");
    }
    let [no_identity, expected] =
        [GLOBAL, INGRESS].map(|file| read_document(file, "ConfigMap", "no-identity"));
    assert_eq!(no_identity, expected);
    // The controller writes the ConfigMap of auth-proxy-set-headers in the same form.
    let headers = read_document(INGRESS, "ConfigMap", "curfew-request")["data"].take();
    let headers = headers.as_object().unwrap().iter();
    let mut expected: Vec<String> = headers
        .map(|(name, value)| format!("proxy_set_header \"{name}\" {value};"))
        .collect();
    let snippet = global["global-auth-snippet"].as_str().unwrap();
    let mut lines: Vec<&str> = snippet.lines().collect();
    expected.sort_unstable();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    // As a regular expression, a path that begins with the default of this key could match every request.
    assert_eq!(global["no-auth-locations"], "");
}
