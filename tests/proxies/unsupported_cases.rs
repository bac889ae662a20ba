//! Cases that a proxy cannot support with any configuration.

/// A case that must fail on some proxies. The runner runs the case, and checks that it fails.
pub struct UnsupportedCase {
    case: &'static str,
    proxies: &'static [&'static str],
    /// The message of the failure must contain this text.
    pub fails_with: &'static str,
    /// The explanation in the footnote of the matrix.
    pub reason: &'static str,
}

pub fn find_unsupported_case(case: &str, proxy: &str) -> Option<&'static UnsupportedCase> {
    let mut all = UNSUPPORTED_CASES.iter();
    all.find(|known| known.case == case && known.proxies.contains(&proxy))
}

pub static UNSUPPORTED_CASES: [UnsupportedCase; 11] = [
    UnsupportedCase {
        case: "8c",
        proxies: &["NGINX", "ingress-nginx"],
        fails_with: "the body is not Curfew's",
        reason: "NGINX drops the body of a denial, and shows its own page.",
    },
    UnsupportedCase {
        case: "8e",
        proxies: &["ingress-nginx"],
        fails_with: "no link for the whole window",
        reason: "ingress-nginx shows its own page; with `auth-signin` a frame gets the page from `/.curfew/login`.",
    },
    UnsupportedCase {
        case: "9b",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "Traefik's provider for these annotations returns no cookie from an allowed answer, \
                 but Traefik's own resources return it.",
    },
    UnsupportedCase {
        case: "9c",
        proxies: &[
            "NGINX",
            "ingress-nginx",
            "Caddy",
            "haproxy-ingress",
            "haproxy-ingress controller",
        ],
        fails_with: "the cookie of the service is lost",
        reason: "This proxy returns only one cookie from the answer of a check.",
    },
    UnsupportedCase {
        case: "9c",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "Traefik's provider for these annotations returns no cookie from the answer of a check.",
    },
    UnsupportedCase {
        case: "14c",
        proxies: &["ingress-nginx"],
        fails_with: "no redirect to the page that clears cookies",
        reason: "ingress-nginx makes redirects itself; with `auth-signin: https://$host/.curfew/login` that page clears \
                 the cookies.",
    },
    UnsupportedCase {
        case: "17c",
        proxies: &["ingress-nginx"],
        fails_with: "upgraded to h2c",
        reason: "ingress-nginx forwards every Upgrade on every path, so the application must not accept \
                 an upgrade to h2c.",
    },
    UnsupportedCase {
        case: "20c",
        proxies: &["ingress-nginx"],
        fails_with: "while receiving response with status: 401",
        reason: "ingress-nginx shows its own page, which a gRPC client may read as a broken message. \
                 A client that uses the HTTP status, 401, gets UNAUTHENTICATED.",
    },
    UnsupportedCase {
        case: "9b",
        proxies: &["Envoy Gateway HTTP"],
        fails_with: "the cookie of the service is lost",
        reason: "Envoy Gateway returns no cookie from an allowed answer over HTTP; over gRPC, it returns them.",
    },
    UnsupportedCase {
        case: "9c",
        proxies: &["Envoy Gateway HTTP"],
        fails_with: "the cookie of the service is lost",
        reason: "Envoy Gateway returns no cookie from an allowed answer over HTTP; over gRPC, it returns them.",
    },
    UnsupportedCase {
        case: "12b",
        proxies: &["Contour"],
        fails_with: "root",
        reason: "Contour cannot remove other spellings of a header on a route without a check; a rule of Curfew with \
                 `access: public` removes them.",
    },
];
