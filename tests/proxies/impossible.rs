//! What a proxy cannot do, in any configuration.

/// A cell that is expected to fail. The case runs nevertheless, and must fail with this text.
pub struct Impossible {
    case: &'static str,
    proxies: &'static [&'static str],
    pub fails_with: &'static str,
    /// The explanation for readers of the matrix.
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
        reason: "NGINX drops the body of a denial, and shows a page of its own.",
    },
    Impossible {
        case: "8e",
        proxies: &["ingress-nginx"],
        fails_with: "no link for the whole window",
        reason: "ingress-nginx shows a page of its own; with `auth-signin` a frame gets the page from `/.curfew/login`.",
    },
    Impossible {
        case: "9b",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "Traefik's provider for these annotations hands on no cookie of an allowed answer; with Traefik's own \
                 resources it does.",
    },
    Impossible {
        case: "9c",
        proxies: &["NGINX", "ingress-nginx", "Caddy", "haproxy-ingress"],
        fails_with: "the cookie of the service is lost",
        reason: "This proxy hands on one cookie of the answer of a check.",
    },
    Impossible {
        case: "9c",
        proxies: &["Traefik ingress-nginx"],
        fails_with: "the cookie of the service is lost",
        reason: "It hands on none.",
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
        reason: "ingress-nginx hands on every Upgrade, on every path: the application must not take \
                 one to h2c.",
    },
    Impossible {
        case: "20c",
        proxies: &["ingress-nginx"],
        fails_with: "while receiving response with status: 401",
        reason: "ingress-nginx shows a page of its own, which a gRPC client may take for a broken message; \
                 a client that goes by the HTTP status, 401, sees UNAUTHENTICATED.",
    },
];
