use super::original::MalformedOriginal;
use crate::policy::AmbiguousPath;

/// The cause of a denial, for example the input that is missing or contradictory. It contains no data of the request,
/// so every client may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Detail {
    /// An input of the original request is missing or invalid.
    #[error(transparent)]
    Original(#[from] MalformedOriginal),
    /// The proxy names a policy that is not configured.
    #[error("the policy that the proxy names is not configured")]
    UnknownPolicy,
    /// The configuration names hosts, but not this one.
    #[error("the configuration does not name this host (hosts, unknown_hosts)")]
    UnknownHost,
    /// Curfew has not read the policies of the cluster yet.
    #[error("the policies of the Kubernetes cluster are not known yet (kubernetes.required)")]
    UnknownRoutes,
    /// A rule depends on the path, and programs read this path in different ways.
    #[error("a rule depends on the path, and the path is ambiguous: {0}")]
    Path(#[from] AmbiguousPath),
    /// A rule depends on the path, and the path begins with two slashes because the proxy's path prefix ends in `/`.
    #[error(
        "a rule depends on the path, and the path begins with two slashes: a path prefix of the proxy must not \
         end in /"
    )]
    PrefixSlash,
    /// The request has two session cookies with different values.
    #[error(
        "the request carries two session cookies with different values: /.curfew/clear-cookies clears them"
    )]
    TwoCookies,
    /// The request has two different tokens, or a cookie and a different token.
    #[error("the request carries two different session credentials")]
    TwoCredentials,
    /// The JSON Web Token does not contain the time of the sign-in.
    #[error(
        "the token has no auth_time; without it, every refreshed token would start a new session \
         (jwt.issuers.NAME.accept_iat)"
    )]
    NoAuthTime,
    /// The store has lost data since the sign-in, so the session may have ended.
    #[error(
        "the session store has lost data since this sign-in, so the session may have ended: sign in again"
    )]
    DataLoss,
    /// The delegated service allows the request, but the authentication is too old for a new session.
    #[error(
        "the authentication is too old for a new session: the service must request a new authentication from the \
         identity provider (prompt=login; delegated.services.NAME.max_age)"
    )]
    OldAuthentication,
    /// The delegated service does not send the time of the authentication.
    #[error(
        "the service does not say when the subject authenticated (auth_time in token_header, or auth_time_header; \
         delegated.services.NAME.max_age)"
    )]
    UnknownAuthTime,
    /// ingress-nginx sends the host that the client wrote, not the host that it routes by. Curfew logs this detail, but
    /// does not deny the request.
    #[error(
        "ingress-nginx names the host that the client wrote, which can differ from the routed host: use /forward-auth with \
         auth-proxy-set-headers"
    )]
    HostOfClient,
    /// The session is bound to the client, and the proxy does not send the client's address or `User-Agent`.
    #[error(
        "the session is bound to its client, and the client's address or User-Agent is missing"
    )]
    UnknownClientProperty,
}

impl Detail {
    /// Whether the proxy's configuration is the cause, not the client.
    #[must_use]
    pub const fn is_proxy_mistake(self) -> bool {
        matches!(
            self,
            Self::Original(_)
                | Self::UnknownPolicy
                | Self::PrefixSlash
                | Self::NoAuthTime
                | Self::UnknownAuthTime
                | Self::HostOfClient
                | Self::UnknownClientProperty
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Details are quoted strings in a challenge (RFC 6750, section 3).
    #[test]
    fn details_are_valid_in_a_header() {
        for detail in [
            Detail::Original(MalformedOriginal::missing("X-Original-URL")),
            Detail::UnknownPolicy,
            Detail::UnknownHost,
            Detail::UnknownRoutes,
            Detail::Path(AmbiguousPath::Fragment),
            Detail::Path(AmbiguousPath::Backslash),
            Detail::PrefixSlash,
            Detail::TwoCookies,
            Detail::TwoCredentials,
            Detail::NoAuthTime,
            Detail::DataLoss,
            Detail::OldAuthentication,
            Detail::UnknownAuthTime,
            Detail::HostOfClient,
            Detail::UnknownClientProperty,
        ] {
            let text = detail.to_string();
            let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            assert!(text.bytes().all(plain), "{text}");
        }
    }
}
