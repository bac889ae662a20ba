//! The embedded files of `deploy/`.

/// Returns the text of the file with this path below `deploy/`; `None` if the file is not embedded.
#[must_use]
pub fn deploy_file(path: &str) -> Option<&'static str> {
    Some(match path {
        "nginx/curfew.conf" => include_str!("../deploy/nginx/curfew.conf"),
        "nginx/ingress.yaml" => include_str!("../deploy/nginx/ingress.yaml"),
        "nginx/ingress-streams.yaml" => include_str!("../deploy/nginx/ingress-streams.yaml"),
        "nginx/streams.conf" => include_str!("../deploy/nginx/streams.conf"),
        "traefik/traefik.yaml" => include_str!("../deploy/traefik/traefik.yaml"),
        "traefik/curfew.yaml" => include_str!("../deploy/traefik/curfew.yaml"),
        "caddy/Caddyfile" => include_str!("../deploy/caddy/Caddyfile"),
        "envoy/http.yaml" => include_str!("../deploy/envoy/http.yaml"),
        "envoy/grpc.yaml" => include_str!("../deploy/envoy/grpc.yaml"),
        "haproxy/haproxy.cfg" => include_str!("../deploy/haproxy/haproxy.cfg"),
        "haproxy/curfew-spoe.conf" => include_str!("../deploy/haproxy/curfew-spoe.conf"),
        "oauth2-proxy/oauth2-proxy.cfg" => include_str!("../deploy/oauth2-proxy/oauth2-proxy.cfg"),
        "traefik/kubernetes-global.yaml" => {
            include_str!("../deploy/traefik/kubernetes-global.yaml")
        }
        "nginx/ingress-global.yaml" => include_str!("../deploy/nginx/ingress-global.yaml"),
        "gateway-api/envoy-gateway-global.yaml" => {
            include_str!("../deploy/gateway-api/envoy-gateway-global.yaml")
        }
        "istio/mesh-config.yaml" => include_str!("../deploy/istio/mesh-config.yaml"),
        "istio/authorization-policy-global.yaml" => {
            include_str!("../deploy/istio/authorization-policy-global.yaml")
        }
        "haproxy/ingress-global.yaml" => include_str!("../deploy/haproxy/ingress-global.yaml"),
        _ => return None,
    })
}
