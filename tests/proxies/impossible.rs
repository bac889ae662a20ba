//! Cases that a proxy cannot support with any configuration.

/// A case that must fail on some proxies. The case runs nevertheless.
pub struct Impossible {
    case: &'static str,
    proxies: &'static [&'static str],
    /// The message of the failure must contain this text.
    pub fails_with: &'static str,
    /// The explanation in the footnote of the matrix.
    pub reason: &'static str,
}

pub fn impossible(case: &str, proxy: &str) -> Option<&'static Impossible> {
    let mut all = IMPOSSIBLE.iter();
    all.find(|known| known.case == case && known.proxies.contains(&proxy))
}

pub static IMPOSSIBLE: [Impossible; 8] = [
    Impossible {
        case: "8c",
        proxies: &["NGINX", "ingress-nginx"],
        fails_with: "the body is not Curfew's",
        reason: "NGINX drops the body of a denial, and shows its own page.",
    },
    Impossible {
        case: "8e",
        proxies: &["ingress-nginx"],
        fails_with: "no link for the whole window",
        reason: "ingress-nginx shows its own page; with `auth-signin` a frame gets the page from `/.curfew/login`.",
    },
    Impossible {
        case: "9b",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "Traefik's provider for these annotations returns no cookie from an allowed answer; Traefik's own \
                 resources do.",
    },
    Impossible {
        case: "9c",
        proxies: &["NGINX", "ingress-nginx", "Caddy", "haproxy-ingress"],
        fails_with: "the cookie of the service is lost",
        reason: "This proxy returns only one cookie from the answer of a check.",
    },
    Impossible {
        case: "9c",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "It returns none.",
    },
    Impossible {
        case: "14c",
        proxies: &["ingress-nginx"],
        fails_with: "no way out",
        reason: "ingress-nginx makes redirects itself; with `auth-signin: https://$host/.curfew/login` that page clears \
                 the cookies.",
    },
    Impossible {
        case: "17c",
        proxies: &["ingress-nginx"],
        fails_with: "upgraded to h2c",
        reason: "ingress-nginx forwards every Upgrade on every path: the application must not accept \
                 one to h2c.",
    },
    Impossible {
        case: "20c",
        proxies: &["ingress-nginx"],
        fails_with: "while receiving response with status: 401",
        reason: "ingress-nginx shows its own page, which a gRPC client may read as a broken message. \
                 A client that uses the HTTP status, 401, gets UNAUTHENTICATED.",
    },
];
