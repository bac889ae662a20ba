//! JSON Web Tokens of identity providers.

use super::*;
use crate::credential::jwt::LogoutScope;
use crate::jwks::JwksLocation;
use crate::jwks::KeySource;

const ISSUER_YAML: &str = "issuer: 'https://id.example.com', audience: app";

/// Loads `text` as the section `jwt`, with the policies `default` and `apps`.
fn load_jwt(text: &str) -> JwtConfig {
    let loaded = load_yaml(&format!(
        "policies: {{default: {{}}, apps: {{}}}}\njwt: {text}"
    ));
    loaded.unwrap().config.jwt.unwrap()
}

/// Returns the problems of `text` as the section `jwt`, without the file name.
fn problems_of_jwt(text: &str) -> String {
    problems(&format!("jwt: {text}")).replace("curfew.yaml: ", "")
}

#[test]
fn without_an_issuer_jwt_is_off() {
    assert!(load_yaml("{}").unwrap().config.jwt.is_none());
}

#[test]
fn issuer_settings_are_read() {
    let config = load_jwt(&format!(
        "{{cookie: id, issuers: {{main: {{{ISSUER_YAML}, algorithms: [ES256, EdDSA], typ: at+jwt, policy: apps}}}}}}"
    ));
    let main = &config.issuers[0];
    assert_eq!(config.locations.cookie.as_deref(), Some("id"));
    assert_eq!(
        (&*main.name, &*main.issuer.issuer),
        ("main", "https://id.example.com")
    );
    assert_eq!(main.issuer.audiences, ["app"]);
    assert_eq!(main.issuer.algorithms.len(), 2);
    assert_eq!(main.issuer.claims.session, ["sid"]);
    assert!(
        !main.issuer.accepts_iat,
        "`iat` is accepted only if the configuration gives a reason"
    );
    let accepting = load_jwt(&format!(
        "{{issuers: {{main: {{{ISSUER_YAML}, accept_iat: tokens are never refreshed}}}}}}"
    ));
    assert!(accepting.issuers[0].issuer.accepts_iat);
    assert_eq!(main.issuer.logout_scope, LogoutScope::Session);
    let user = load_jwt(&format!(
        "{{issuers: {{main: {{{ISSUER_YAML}, logout_scope: user}}}}}}"
    ));
    assert_eq!(user.issuers[0].issuer.logout_scope, LogoutScope::User);
    assert_eq!(main.policy.as_ref().unwrap().as_str(), "apps");
    let KeySource::Fetched(settings) = &main.keys else {
        panic!("the keys should be fetched");
    };
    assert!(matches!(&settings.location, JwksLocation::Discovery { .. }));
    assert_eq!(
        settings.freshness.refresh_interval,
        Duration::from_secs(300)
    );
}

#[test]
fn mistakes_in_jwt_settings_are_reported() {
    let file = write_file("keys", "nonsense");
    let invalid_key_file = format!(
        "{{issuers: {{m: {{{ISSUER_YAML}, jwks_file: '{}'}}}}}}",
        file.path.display()
    );
    for (text, expected) in [
        ("{cookie: id}", "jwt.cookie = \"id\": needs an issuer"),
        ("{issuers: {m: {}}}", "jwt.issuers.m.issuer: is missing"),
        ("{issuers: {m: {}}}", "jwt.issuers.m.audience: is missing"),
        (
            &*format!("{{issuers: {{m: {{{ISSUER_YAML}, algorithms: HS256}}}}}}"),
            "jwt.issuers.m.algorithms = \"HS256\": must be one of RS256,",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}, algorithms: none}}}}}}"),
            "jwt.issuers.m.algorithms = \"none\": must be one of RS256,",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}, policy: nothing}}}}}}"),
            "jwt.issuers.m.policy = \"nothing\": is not one of the policies",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}, accept_iat: ' '}}}}}}"),
            "jwt.issuers.m.accept_iat = \" \": must give the reason",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}, logout_scope: all}}}}}}"),
            "jwt.issuers.m.logout_scope = \"all\": must be `session` or `user`",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}, jwks_url: /jwks}}}}}}"),
            "jwt.issuers.m.jwks_url = \"/jwks\": not an absolute address",
        ),
        (
            "{issuers: {m: {issuer: me, audience: app}}}",
            "jwt.issuers.m.issuer = \"me\": is not a URL, so its keys",
        ),
        (
            &format!("{{bearer: false, issuers: {{m: {{{ISSUER_YAML}}}}}}}"),
            "jwt.bearer = \"false\": is off and jwt.cookie is not set",
        ),
        (
            &format!("{{max_key_age: 1m, issuers: {{m: {{{ISSUER_YAML}}}}}}}"),
            "jwt.max_key_age = \"1m\": must not be shorter than jwt.refresh_interval",
        ),
        (
            &format!("{{issuers: {{m: {{{ISSUER_YAML}}}, n: {{{ISSUER_YAML}}}}}}}"),
            "jwt.issuers.n.issuer = \"https://id.example.com\": is also the issuer of jwt.issuers.m",
        ),
        (
            &invalid_key_file,
            "neither a JSON Web Key Set nor a public key in PEM",
        ),
    ] {
        let errors = problems_of_jwt(text);
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}
