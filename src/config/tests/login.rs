//! Sign-in with identity providers.

use super::*;
use crate::contract::ReturnHost;
use crate::policy::MaxAge;

const VALID_YAML: &str = "login: {url: 'https://app.example.com', providers: {main: {issuer: \
                    'https://id.example.com', client_id: curfew, client_secret: hush}}}";

/// Returns the valid configuration with `provider` added to the provider, and `top_level` added at the top level.
fn valid_yaml_with(provider: &str, top_level: &str) -> String {
    let provider = format!("client_secret: hush{provider}");
    format!(
        "{}\n{top_level}",
        VALID_YAML.replace("client_secret: hush", &provider)
    )
}

#[test]
fn defaults_follow_from_login_url() {
    let loaded = load_yaml(VALID_YAML).unwrap();
    let sign_in = loaded.config.sign_in.as_ref().unwrap();
    assert_eq!(
        sign_in.url.as_str(),
        "https://app.example.com/.curfew/login"
    );
    let host = ReturnHost::Exact("app.example.com".to_owned());
    assert_eq!(sign_in.allowed_hosts, [host]);
    let login = loaded.config.login.as_ref().unwrap();
    assert_eq!(login.max_age, MaxAge::Idle);
    let [provider] = &login.providers[..] else {
        panic!("there should be one provider");
    };
    assert_eq!(provider.title, "main");
    assert_eq!(provider.scopes, ["profile", "email"]);
    assert_eq!(provider.issuer.issuer.audiences, ["curfew"]);
    // No output contains the secret.
    let effective_json = serde_json::to_string(&loaded.effective).unwrap();
    let debugged = format!("{:?} {:?}", loaded.config, loaded.effective);
    assert!(!effective_json.contains("hush") && !debugged.contains("hush"));
    let wide_cookie = "cookie: {name: __Secure-session, domain: example.com}\n\
                  sign_in: {allowed_hosts: ['*.example.com', example.com]}";
    load_yaml(&valid_yaml_with("", wide_cookie)).unwrap();
}

#[test]
fn revalidation_is_off_unless_it_has_an_interval() {
    let interval = |text: &str| {
        let top_level = VALID_YAML.replacen("{url", &format!("{{revalidate: {text}, url"), 1);
        load_yaml(&top_level).map(|loaded| loaded.config.login.unwrap().revalidation_interval)
    };
    assert_eq!(
        load_yaml(VALID_YAML)
            .unwrap()
            .config
            .login
            .unwrap()
            .revalidation_interval,
        None
    );
    assert_eq!(interval("off").unwrap(), None);
    let five = std::time::Duration::from_secs(300);
    assert_eq!(interval("5m").unwrap(), Some(five));
    for wrong in ["often", "10ms", "2days", "''"] {
        let refused = interval(wrong).unwrap_err().to_string();
        assert!(refused.contains("login.revalidate"), "{refused}");
    }
}

#[test]
fn mistakes_in_login_settings_are_reported() {
    for (provider, top_level, key, message) in [
        (
            ", policy: x",
            "",
            "login.providers.main.policy",
            "is not one",
        ),
        (
            ", client_secret_file: /x",
            "",
            "login.providers.main.client_secret_file",
            "conflicts with",
        ),
        (
            ", algorithms: HS256",
            "",
            "login.providers.main.algorithms",
            "public key",
        ),
        (
            "",
            "sign_in: {url: 'https://a.example.com'}",
            "sign_in.url",
            "conflicts with",
        ),
        (
            "",
            "admin: {groups: operators}",
            "admin.groups",
            "needs admin.url",
        ),
        (
            "",
            "sign_in: {return_parameter: to}",
            "sign_in.return_parameter",
            "must be `rd`",
        ),
        (
            "",
            "sign_in: {allowed_hosts: [other.example.com]}",
            "sign_in.allowed_hosts",
            "do not send the session cookie",
        ),
        (
            "",
            "cookie: {name: __Secure-s, domain: example.org}",
            "login.url",
            "not within cookie.domain",
        ),
    ] {
        let errors = problems(&valid_yaml_with(provider, top_level));
        assert!(errors.contains(key) && errors.contains(message), "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
    for (from, to, message) in [
        (
            "https://app.example.com",
            "http://app.example.com",
            "must be https://",
        ),
        (
            "https://app.example.com",
            "https://app.example.com/x",
            "without a path",
        ),
        (
            "https://id.example.com",
            "id",
            "not the address of an issuer",
        ),
        ("client_id: curfew", "title: x", "client_id is missing"),
        ("main:", "Main:", "is part of a URL"),
        (
            "login: {",
            "login: {max_age: soon, ",
            "must be `idle`, `off`",
        ),
    ] {
        let errors = problems(&VALID_YAML.replace(from, to));
        assert!(
            errors.replace(": ", " ").contains(message) || errors.contains(message),
            "{errors}"
        );
    }
    let errors = problems("login: {url: 'https://app.example.com'}");
    assert!(errors.contains("login.providers"), "{errors}");
}

#[test]
fn a_secret_in_a_file_is_read_and_watched() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hush\n").unwrap();
    let path = secret.path().to_str().unwrap();
    let file = format!("client_secret_file: '{path}'");
    let loaded = load_yaml(&VALID_YAML.replace("client_secret: hush", &file)).unwrap();
    let login = loaded.config.login.as_ref().unwrap();
    let client_secret = login.providers[0].client_secret.as_ref().unwrap();
    assert_eq!(client_secret.expose(), "hush");
    let source = ConfigSource {
        file: None,
        environment: Environment::default(),
    };
    assert_eq!(source.files(&loaded), [secret.path()]);
}
