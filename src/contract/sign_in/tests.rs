use super::*;

fn sign_in(url: &str, hosts: Vec<ReturnHost>) -> SignInRedirect {
    let config = SignInSettings {
        url: url.parse().unwrap(),
        return_parameter: "rd".to_owned(),
        allowed_hosts: hosts,
    };
    SignInRedirect::new(config, false)
}

fn example_redirect() -> SignInRedirect {
    let hosts = vec![
        ReturnHost::Exact("app.example.com".to_owned()),
        ReturnHost::Exact("dev.example.com:8443".to_owned()),
        ReturnHost::Below(".apps.example.com".to_owned()),
    ];
    sign_in("https://login.example.com/", hosts)
}

fn location(
    sign_in: &SignInRedirect,
    method: &str,
    url: &str,
    header_lines: &[(&'static str, &'static str)],
    reason: DenyReason,
) -> Option<String> {
    let headers: HeaderMap = header_lines
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        })
        .collect();
    let method = method.parse().unwrap();
    let original = Original::new(&method, OriginalUrl::parse(url.as_bytes()).unwrap());
    let location = sign_in.redirect_location(&original, &headers, reason, 300);
    location.map(|value| value.to_str().unwrap().to_owned())
}

const MAX_LOCATION_BYTES: usize = 300;
const NAVIGATE: [(&str, &str); 1] = [("sec-fetch-mode", "navigate")];
const HTML: (&str, &str) = ("accept", "text/html, */*;q=0.8");

#[test]
fn the_exact_url_is_the_return_address() {
    let location_for = |url| {
        location(
            &example_redirect(),
            "GET",
            url,
            &NAVIGATE,
            DenyReason::IdleTimeout,
        )
        .unwrap()
    };
    assert_eq!(
        location_for("https://app.example.com/a%2Fb/gr\u{fc}n?x=1&y=a+b%20c#d"),
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%2Fgr%C3%BCn\
         %3Fx%3D1%26y%3Da%2Bb%2520c%23d&reason=idle_timeout"
    );
    let with_query = sign_in(
        "https://login.example.com/in?tenant=1",
        vec![ReturnHost::Exact("a".to_owned())],
    );
    let target = location(
        &with_query,
        "GET",
        "http://a/",
        &NAVIGATE,
        DenyReason::Revoked,
    )
    .unwrap();
    assert_eq!(
        target,
        "https://login.example.com/in?tenant=1&rd=http%3A%2F%2Fa%2F&reason=revoked"
    );
}

#[test]
fn a_too_long_redirect_is_omitted() {
    // Percent-encoded, `https://app.example.com/` has 32 bytes.
    let bytes_without_path = "https://login.example.com/?rd=&reason=revoked".len() + 32;
    for (length, fits) in [
        (MAX_LOCATION_BYTES - bytes_without_path, true),
        (MAX_LOCATION_BYTES - bytes_without_path + 1, false),
    ] {
        let url = format!("https://app.example.com/{}", "x".repeat(length));
        let location = location(
            &example_redirect(),
            "GET",
            &url,
            &NAVIGATE,
            DenyReason::Revoked,
        );
        assert_eq!(location.is_some(), fits, "{location:?}");
    }
}

#[test]
fn return_addresses_need_an_allowed_host() {
    for (url, allowed) in [
        ("https://app.example.com/", true),
        ("https://APP.example.com/", true),
        ("https://app.example.com:443/", true),
        ("http://app.example.com:80/", true),
        ("https://app.example.com:80/", false),
        ("https://app.example.com:8443/", false),
        ("https://dev.example.com:8443/", true),
        ("https://dev.example.com/", false),
        ("https://a.apps.example.com/", true),
        ("https://b.a.apps.example.com/", true),
        ("https://apps.example.com/", false),
        ("https://evilapps.example.com/", false),
        ("https://a.apps.example.com:8443/", false),
        ("https://app.example.com.evil.example/", false),
        ("https://app.example.com./", false),
        ("https://evil.example/app.example.com/", false),
    ] {
        let target = location(
            &example_redirect(),
            "GET",
            url,
            &NAVIGATE,
            DenyReason::NoCredential,
        );
        assert_eq!(target.is_some(), allowed, "{url}");
    }
}

#[test]
fn only_navigations_are_redirected() {
    let json = ("accept", "application/json");
    let script = ("x-requested-with", "XMLHttpRequest");
    let upgrade = ("upgrade", "websocket");
    for (method, header_lines, redirected) in [
        ("GET", &[HTML][..], true),
        ("GET", &NAVIGATE, true),
        ("GET", &[NAVIGATE[0], json], true),
        ("GET", &[], false),
        ("GET", &[json], false),
        ("GET", &[("accept", "*/*")], false),
        ("GET", &[HTML, script], false),
        ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "document")], true),
        ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "iframe")], false),
        (
            "GET",
            &[NAVIGATE[0], HTML, ("sec-fetch-dest", "frame")],
            false,
        ),
        ("GET", &[HTML, ("sec-fetch-mode", "cors")], false),
        ("GET", &[HTML, ("sec-fetch-mode", "websocket")], false),
        ("GET", &[HTML, upgrade], false),
        ("GET", &[HTML, ("sec-websocket-key", "x")], false),
        ("HEAD", &[HTML], false),
        ("POST", &[HTML, NAVIGATE[0]], false),
        ("OPTIONS", &[HTML], false),
    ] {
        let url = "https://app.example.com/";
        let target = location(
            &example_redirect(),
            method,
            url,
            header_lines,
            DenyReason::NoCredential,
        );
        assert_eq!(target.is_some(), redirected, "{method} {header_lines:?}");
    }
}

/// A cookie that is sent over TLS only would be missing after a return over HTTP.
#[test]
fn with_a_secure_cookie_the_return_address_is_https() {
    let secure = SignInRedirect {
        secure: true,
        ..example_redirect()
    };
    for (url, return_address) in [
        ("http://app.example.com/a", "https://app.example.com/a"),
        ("http://app.example.com:80/a", "https://app.example.com/a"),
        ("https://app.example.com/a", "https://app.example.com/a"),
        (
            "http://dev.example.com:8443/",
            "https://dev.example.com:8443/",
        ),
    ] {
        let target = location(&secure, "GET", url, &NAVIGATE, DenyReason::NoCredential);
        let query = target.unwrap().parse::<url::Url>().unwrap();
        let (_, found) = query.query_pairs().next().unwrap();
        assert_eq!(found, return_address);
        let url = secure.upgrade_to_https(url.parse().unwrap());
        assert_eq!(url.as_str(), return_address);
    }
    let plain = example_redirect().upgrade_to_https("http://app.example.com/".parse().unwrap());
    assert_eq!(plain.scheme(), "http");
}

#[test]
fn frames_are_recognized() {
    let framed = |method: &str, header_lines: &[(&str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in header_lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        is_framed(&method.parse().unwrap(), &headers)
    };
    for dest in ["iframe", "frame", "embed", "object", "fencedframe"] {
        assert!(framed("GET", &[NAVIGATE[0], ("sec-fetch-dest", dest)]));
    }
    for (method, header_lines) in [
        ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "document")][..]),
        ("GET", &[NAVIGATE[0]]),
        ("POST", &[NAVIGATE[0], ("sec-fetch-dest", "iframe")]),
        ("GET", &[("sec-fetch-dest", "iframe")]),
    ] {
        assert!(!framed(method, header_lines), "{method} {header_lines:?}");
    }
}

#[test]
fn only_helpful_reasons_redirect_and_never_in_a_loop() {
    for reason in DenyReason::ALL {
        let url = "https://app.example.com/";
        let target = location(&example_redirect(), "GET", url, &NAVIGATE, reason);
        let can_help = !matches!(
            reason.as_str(),
            "forbidden"
                | "store_unavailable"
                | "source_unavailable"
                | "overloaded"
                | "malformed_request"
                | "unknown_host"
                | "too_many_sessions"
        );
        assert_eq!(target.is_some(), can_help, "{reason}");
    }
    let on_same_host = sign_in(
        "https://app.example.com/sign-in",
        vec![ReturnHost::Exact("app.example.com".to_owned())],
    );
    let location_for = |url| {
        location(
            &on_same_host,
            "GET",
            url,
            &NAVIGATE,
            DenyReason::NoCredential,
        )
    };
    assert!(location_for("https://app.example.com/sign-in?rd=x").is_none());
    assert!(location_for("https://app.example.com/sign-in-again").is_some());
}
