//! The identity headers that applications expect and clients forge.

use crate::support::backend::ReceivedRequest;

/// The headers that name the subject to an application.
#[derive(Clone, Copy)]
pub struct IdentityHeaders {
    /// The value of `identity.presets` in Curfew's configuration.
    pub preset: &'static str,
    /// Headers that Curfew fills for the session of the tests, with their values.
    pub known: &'static [(&'static str, &'static str)],
    /// A header that Curfew leaves empty for that session.
    pub unknown: &'static str,
}

/// The headers of Authelia.
pub const AUTHELIA: IdentityHeaders = IdentityHeaders {
    preset: "remote",
    known: &[
        ("remote-user", "alice"),
        ("remote-groups", "staff,admin"),
        ("remote-email", "alice@example.com"),
    ],
    unknown: "remote-name",
};

/// The headers of oauth2-proxy.
pub const OAUTH2_PROXY: IdentityHeaders = IdentityHeaders {
    preset: "x-auth-request",
    known: &[
        ("x-auth-request-user", "alice"),
        ("x-auth-request-groups", "staff,admin"),
        ("x-auth-request-email", "alice@example.com"),
    ],
    unknown: "x-auth-request-preferred-username",
};

/// The headers that oauth2-proxy's file for NGINX sends to the application.
pub const OAUTH2_PROXY_NGINX: IdentityHeaders = IdentityHeaders {
    preset: "x-auth-request",
    known: &[("x-user", "alice"), ("x-email", "alice@example.com")],
    unknown: "x-access-token",
};

impl IdentityHeaders {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        let known = self.known.iter().map(|(name, _)| *name);
        known.chain([self.unknown])
    }

    /// Returns each name in every spelling that some application reads as that name.
    pub fn spellings(&self) -> Vec<String> {
        let mut spelled = Vec::new();
        for name in self.all() {
            spelled.push(name.to_owned());
            let others = "!#$%&'*+.^_`|~".chars();
            spelled.extend(others.map(|other| name.replace('-', &other.to_string())));
        }
        spelled
    }

    /// Asserts that the application received the identity of the session, and no forged identity in any spelling.
    pub fn assert_only_alice(&self, backend_request: &ReceivedRequest) {
        for (name, value) in self.known {
            assert_eq!(backend_request.header_values(name), [*value], "{name}");
        }
        assert_eq!(
            backend_request.header_values(self.unknown).concat(),
            "",
            "{} is not empty",
            self.unknown
        );
        let identity_headers: Vec<String> = self.all().map(to_underscores).collect();
        for (name, value) in &backend_request.headers {
            let is_identity = identity_headers.contains(&to_underscores(name.as_str()));
            assert!(
                !is_identity || value != "root",
                "{name} has the forged value"
            );
        }
    }

    /// Asserts that the application received no identity.
    pub fn assert_no_identity(&self, backend_request: &ReceivedRequest) {
        for name in self.all() {
            assert_eq!(backend_request.header_values(name).concat(), "", "{name}");
        }
    }
}

/// Returns a header name as many applications read it: with an underscore instead of each character except letters and
/// digits.
fn to_underscores(name: &str) -> String {
    let underscore = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(underscore).collect()
}
