//! People sign in with real identity providers (oidc-provider on Node.js), through NGINX, ingress-nginx and Traefik.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::run_script;
use crate::support::curfew::Setup;
use crate::support::deployment::{Server, installed_path, read_deploy_file};
use crate::support::nginx::Nginx;
use crate::support::{Listeners, free_port, ingress_nginx, loopback, traefik};

#[tokio::test]
async fn sign_in_through_nginx() {
    let (curfew, application) = (Listeners::free(), loopback(free_port()));
    let nginx = Nginx::start(curfew, application);
    sign_in("nginx", nginx.address, curfew, application).await;
}

#[tokio::test]
async fn sign_in_through_traefik() {
    let (curfew, application) = (Listeners::free(), loopback(free_port()));
    let (address, _traefik) = traefik::start(curfew, "/forward-auth", application);
    sign_in("traefik", address, curfew, application).await;
}

/// With `auth-signin`, the controller redirects all requests, even those of scripts, and does not pass on the reason.
#[tokio::test]
async fn sign_in_through_ingress_nginx() {
    let (curfew, application) = (Listeners::free(), loopback(free_port()));
    // Uses the setting from the comment in `ingress.yaml`, but without TLS.
    let documented_setting = "If Curfew itself signs people in, write https://$host/.curfew/login";
    assert!(read_deploy_file("nginx/ingress.yaml").contains(documented_setting));
    let host = ingress_nginx::Host {
        name: "_",
        application,
        sign_in: Some("http://$http_host/.curfew/login".to_owned()),
    };
    let nginx = ingress_nginx::start(curfew, None, &[host], str::to_owned);
    sign_in("ingress-nginx", nginx.address, curfew, application).await;
}

/// Starts Curfew and the providers, and runs the sign-in script. The browser reaches Curfew and the application
/// through the proxy at the address `proxy`.
async fn sign_in(name: &str, proxy: SocketAddr, curfew: Listeners, application: SocketAddr) {
    let url = format!("http://{proxy}");
    // The ID tokens of one provider have all claims, but the other provider returns some claims only at its UserInfo
    // endpoint.
    let admin = loopback(free_port());
    let main = Provider::start("127.0.0.1", "main", false, &url, curfew.browser, admin);
    let other = Provider::start("localhost", "other", true, &url, curfew.browser, admin);
    let setup = Setup::memory()
        .limits("15s", "10m")
        .set("POLICIES__FRESH__MAX_AUTH_AGE", "10s")
        .set("POLICIES__FRESH__IDLE", "15s")
        .set("POLICIES__FRESH__ABSOLUTE", "10m")
        .listen_on(curfew)
        .set("COOKIE__NAME", "session")
        .set("COOKIE__SECURE", "false")
        .set("LISTEN__ADMIN", &admin.to_string())
        .set("ADMIN__URL", &format!("http://{admin}"))
        .set("ADMIN__GROUPS", "operators,admins")
        .set("LOGIN__URL", &url);
    let providers = [("MAIN", &main, "Example"), ("OTHER", &other, "Another")];
    let setup = providers
        .into_iter()
        .fold(setup, |setup, (name, provider, title)| {
            let key = |part: &str| format!("LOGIN__PROVIDERS__{name}__{part}");
            setup
                .set(&key("ISSUER"), &provider.issuer)
                .set(&key("CLIENT_ID"), "curfew")
                .set(&key("CLIENT_SECRET"), "secret of curfew's")
                .set(&key("SCOPES"), "email")
                .set(&key("LEEWAY"), "1s")
                .set(&key("TITLE"), title)
        });
    let rules = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = "rules:\n  - path: /fresh\n    policy: fresh\n";
    std::fs::write(rules.path(), text).unwrap();
    let setup = setup.config_file(rules.path());
    let curfew = setup.start();
    let settings = json!({
        "proxy": name,
        "url": url,
        "application": application.port(),
        "main": main.issuer,
        "other": other.issuer,
        "admin": format!("http://{}", curfew.admin),
        "admin_token": setup.admin_token,
    });
    let result = tokio::spawn(run_script("sign_in.mjs", settings)).await;
    let log = curfew.log();
    for secret in ["secret of curfew's", "eyJ"] {
        assert!(!log.contains(secret), "{log}");
    }
    if result.is_err() {
        println!("{log}");
    }
    let metrics = curfew.get_ops("/metrics").await.1;
    assert!(
        metrics.contains(r#"curfew_logins_total{provider="main",result="ok"}"#),
        "{metrics}"
    );
    result.unwrap();
}

struct Provider {
    _server: Server,
    issuer: String,
}

impl Provider {
    /// Starts a provider for Curfew, whose public address is `url`. The provider sends logout notices to Curfew.
    fn start(
        host: &str,
        name: &str,
        conforms: bool,
        url: &str,
        browser: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let (port, control) = (free_port(), free_port());
        let clients: Value = json!([{
            "client_id": "curfew",
            "client_secret": "secret of curfew's",
            "redirect_uris": [
                format!("{url}/.curfew/callback/{name}"),
                format!("http://{admin}/console/callback/{name}"),
            ],
            "post_logout_redirect_uris": [format!("{url}/.curfew/signed-out")],
            "backchannel_logout_uri": format!("http://{browser}/oidc/backchannel-logout"),
            "backchannel_logout_session_required": true,
        }]);
        let settings = json!({
            "port": port, "control": control, "clients": clients, "host": host, "conforms": conforms,
        });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/identity/provider.mjs");
        let mut command = Command::new(installed_path("bin/node"));
        command.arg(script).env("PROVIDER", settings.to_string());
        Self {
            _server: Server::start(&mut command, &[], &[loopback(port), loopback(control)]),
            issuer: format!("http://{host}:{port}"),
        }
    }
}
