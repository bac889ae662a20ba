//! The annotations of ingress controllers that send a check to another service.

/// The annotations of an ingress controller.
#[derive(Debug)]
pub(super) struct Family {
    /// The name of the controller.
    pub(super) name: &'static str,
    /// The prefixes of the annotations.
    pub(super) prefixes: &'static [&'static str],
    /// The annotations that are not taken over, each with the reason and what to do.
    pub(super) other: &'static [(&'static str, &'static str)],
    /// How to send the check to Curfew.
    pub(super) attach: &'static str,
}

/// A setting of the proxy that both services need.
const KEEP: &str = "is a setting of the proxy, and not of the policy: keep it";
const SIGN_IN: &str = "is not taken over: keep it for the sign-in page of another service, or set it to https://$host/.curfew/login for sign-in by Curfew";
const CACHE: &str = "is not taken over: remove it, because Curfew does not see the activity of a request whose answer is cached";
const RESPONSE_HEADERS: &str = "is not taken over: set identity.presets in Curfew's configuration, and keep the headers that Curfew sends";

/// ingress-nginx, and Traefik's provider for its annotations.
pub(super) const INGRESS_NGINX: Family = Family {
    name: "ingress-nginx",
    prefixes: &["nginx.ingress.kubernetes.io/"],
    other: &[
        ("auth-signin", SIGN_IN),
        (
            "auth-signin-redirect-param",
            "is not taken over: Curfew's sign-in reads the return address from `rd`",
        ),
        ("auth-response-headers", RESPONSE_HEADERS),
        ("auth-cache-key", CACHE),
        ("auth-cache-duration", CACHE),
        (
            "auth-snippet",
            "is not read: compare it with deploy/nginx/ingress.yaml, which needs no snippet",
        ),
        (
            "auth-proxy-set-headers",
            "is not taken over: it must name the ConfigMap curfew-request of deploy/nginx/ingress.yaml",
        ),
        (
            "auth-request-redirect",
            "is not taken over: remove it, because Curfew takes the return address from the request",
        ),
        ("auth-method", KEEP),
        ("auth-always-set-cookie", KEEP),
        ("auth-keepalive", KEEP),
        ("auth-keepalive-requests", KEEP),
        ("auth-keepalive-share-vars", KEEP),
        ("auth-keepalive-timeout", KEEP),
    ],
    attach: "ingress-nginx: set nginx.ingress.kubernetes.io/auth-url to \
             http://curfew.curfew.svc.cluster.local:9180/forward-auth, and nginx.ingress.kubernetes.io/auth-proxy-set-headers \
             as in deploy/nginx/ingress.yaml",
};

/// haproxy-ingress (`jcmoraisjr`).
pub(super) const HAPROXY_INGRESS: Family = Family {
    name: "haproxy-ingress",
    prefixes: &["haproxy-ingress.github.io/", "ingress.kubernetes.io/"],
    other: &[
        (
            "auth-signin",
            "is not taken over: set sign_in.url in Curfew's configuration, and remove the annotation",
        ),
        (
            "auth-headers-request",
            "is not taken over: list the headers of deploy/haproxy/ingress.yaml",
        ),
        (
            "auth-headers-fail",
            "is not taken over: list the headers of deploy/haproxy/ingress.yaml",
        ),
        ("auth-headers-succeed", RESPONSE_HEADERS),
        ("auth-method", KEEP),
        (
            "oauth-headers",
            "is not taken over: use auth-headers-succeed as in deploy/haproxy/ingress.yaml",
        ),
        (
            "oauth-uri-prefix",
            "is not taken over: remove it together with the annotation oauth",
        ),
    ],
    attach: "haproxy-ingress: set haproxy-ingress.github.io/auth-url to \
             http://curfew.curfew.svc.cluster.local:9180/forward-auth, remove haproxy-ingress.github.io/oauth, and take over \
             the other annotations of deploy/haproxy/ingress.yaml",
};

/// Traefik. Its annotation names Middlewares, which are other objects.
pub(super) const TRAEFIK: Family = Family {
    name: "Traefik",
    prefixes: &["traefik.ingress.kubernetes.io/"],
    other: &[],
    attach: "Traefik: name the Middleware of deploy/traefik/kubernetes.yaml in \
             traefik.ingress.kubernetes.io/router.middlewares",
};

/// Annotations that begin like those of a check, and belong to other features of the controllers.
pub(super) const UNRELATED: [&str; 5] = [
    "auth-realm",
    "auth-secret",
    "auth-secret-type",
    "auth-tls-",
    "auth-type",
];
