//! Listeners, TLS, the sign-in page and traces.

use std::net::SocketAddr;

use http::HeaderValue;
use url::{Host, Url};

use crate::config::Listen;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::sections::{RawBrowser, RawGrpc, RawListen, RawSignIn, RawTraces};
use crate::contract::{ReturnHost, SignInSettings};
use crate::listener::GrpcTlsSettings;
use crate::secret::Secret;
use crate::telemetry::traces::TraceSettings;

/// The value that disables a listener.
const OFF: &str = "off";

/// Valid types of `Clear-Site-Data` (Clear Site Data specification, section 3.1).
const SITE_DATA_TYPES: [&str; 4] = ["cache", "cookies", "storage", "executionContexts"];

pub(super) fn clear_site_data(
    raw: &RawBrowser,
    mistakes: &mut Mistakes,
) -> Valid<Option<HeaderValue>> {
    let key = "browser.clear_site_data";
    for kind in &raw.clear_site_data.0 {
        if !SITE_DATA_TYPES.contains(&&**kind) {
            let known = SITE_DATA_TYPES.join(", ");
            return mistakes.reject(key, format!("`{kind}` is not one of {known}"));
        }
    }
    let quoted = raw.clear_site_data.0.iter();
    let quoted: Vec<String> = quoted.map(|kind| format!("\"{kind}\"")).collect();
    if quoted.is_empty() {
        return Ok(None);
    }
    mistakes
        .take(key, HeaderValue::try_from(quoted.join(", ")))
        .map(Some)
}

pub(super) fn listen(raw: &RawListen, mistakes: &mut Mistakes) -> Valid<Listen> {
    let check = address("listen.check", &raw.check, mistakes);
    let grpc = address_or_off("listen.grpc", &raw.grpc, mistakes);
    let spoe = address_or_off("listen.spoe", &raw.spoe, mistakes);
    let browser = address_or_off("listen.browser", &raw.browser, mistakes);
    let admin = address("listen.admin", &raw.admin, mistakes);
    let ops = address("listen.ops", &raw.ops, mistakes);
    let listen = Listen {
        check: check?,
        grpc: grpc?,
        spoe: spoe?,
        browser: browser?,
        admin: admin?,
        ops: ops?,
        max_connections: raw.max_connections,
        max_in_flight: raw.max_in_flight,
    };
    for (key, most) in [
        ("listen.max_connections", listen.max_connections),
        ("listen.max_in_flight", listen.max_in_flight),
    ] {
        if most == 0 {
            mistakes.note(key, "must be 1 or more");
        }
    }
    let mut taken = vec![listen.check];
    for (key, address) in [
        ("listen.grpc", listen.grpc),
        ("listen.spoe", listen.spoe),
        ("listen.browser", listen.browser),
        ("listen.admin", Some(listen.admin)),
        ("listen.ops", Some(listen.ops)),
    ] {
        let Some(address) = address else { continue };
        if address.port() != 0 && taken.contains(&address) {
            mistakes.note(key, "another listener has the same address");
        }
        taken.push(address);
    }
    Ok(listen)
}

fn address(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<SocketAddr> {
    let parsed = text.parse();
    mistakes.take(
        key,
        parsed.map_err(|_| "not an address and port such as 127.0.0.1:9180"),
    )
}

fn address_or_off(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<Option<SocketAddr>> {
    if text == OFF || text == "false" {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    mistakes.take(
        key,
        parsed.map_err(|_| "not `off`, nor an address and port such as 127.0.0.1:9180"),
    )
}

pub(super) fn grpc_tls(raw: &RawGrpc, mistakes: &mut Mistakes) -> Valid<Option<GrpcTlsSettings>> {
    let (certificate, key) = match (&raw.cert_file, &raw.key_file) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            return mistakes.reject("grpc.cert_file", "needs its key in grpc.key_file");
        }
        (None, Some(_)) => {
            return mistakes.reject("grpc.key_file", "needs its certificate in grpc.cert_file");
        }
        (None, None) if raw.client_ca_file.is_some() => {
            return mistakes.reject(
                "grpc.client_ca_file",
                "client certificates need TLS: give grpc.cert_file and grpc.key_file",
            );
        }
        (None, None) => return Ok(None),
    };
    let certificate = mistakes.read("grpc.cert_file", certificate);
    let key = mistakes.read("grpc.key_file", key);
    let client_ca = mistakes.read_optional("grpc.client_ca_file", raw.client_ca_file.as_ref());
    Ok(Some(GrpcTlsSettings {
        certificate: certificate?,
        key: Secret::new(key?),
        client_ca: client_ca?,
    }))
}

pub(super) fn sign_in(raw: &RawSignIn, mistakes: &mut Mistakes) -> Valid<Option<SignInSettings>> {
    let Some(text) = &raw.url else {
        if !raw.allowed_hosts.is_empty() {
            mistakes.note("sign_in.allowed_hosts", "needs sign_in.url");
        }
        return Ok(None);
    };
    let url = Url::parse(text).ok().filter(is_page);
    let url = mistakes.take(
        "sign_in.url",
        url.ok_or("not an absolute address such as https://login.example.com/"),
    );
    let parameter = &raw.return_parameter;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if parameter.is_empty() || parameter == "reason" || !parameter.bytes().all(plain) {
        mistakes.note(
            "sign_in.return_parameter",
            "must be letters, digits, `-`, `.` or `_`, and not `reason`",
        );
    }
    if raw.allowed_hosts.is_empty() {
        mistakes.note(
            "sign_in.allowed_hosts",
            "is missing: list the hosts that a return address may have, such as \
             app.example.com, app.example.com:8443 or *.example.com",
        );
    }
    let hosts: Option<Vec<ReturnHost>> = raw
        .allowed_hosts
        .0
        .iter()
        .map(|host| pattern(host))
        .collect();
    let hosts = mistakes.take(
        "sign_in.allowed_hosts",
        hosts.ok_or("must be hosts such as app.example.com, app.example.com:8443 or *.example.com"),
    );
    Ok(Some(SignInSettings {
        url: url?,
        return_parameter: parameter.clone(),
        allowed_hosts: hosts?,
    }))
}

/// Whether the URL can be a redirect target for browsers.
fn is_page(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

fn pattern(text: &str) -> Option<ReturnHost> {
    let text = text.to_ascii_lowercase();
    if let Some(domain) = text.strip_prefix("*.") {
        // Reject a top-level domain: it has many owners.
        let named = domain.contains('.') && matches!(Host::parse(domain), Ok(Host::Domain(_)));
        return (named && !domain.contains(':')).then(|| ReturnHost::Below(format!(".{domain}")));
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    // Reject text that the parser normalizes: browsers send the normalized form.
    let written = match (url.host_str()?, url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    (written == text && !text.contains('*')).then_some(ReturnHost::Exact(text))
}

/// The collector for traces, if any.
pub(super) fn traces(raw: &RawTraces, mistakes: &mut Mistakes) -> Valid<Option<TraceSettings>> {
    if !(0.0..=1.0).contains(&raw.ratio) {
        mistakes.note("traces.ratio", "must be between 0 and 1");
    }
    let authorities = mistakes.read_optional("traces.ca_file", raw.ca_file.as_ref())?;
    let Some(url) = &raw.otlp_url else {
        return Ok(None);
    };
    let url = Url::parse(url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let wrong = "must be the address of a collector, such as http://127.0.0.1:4317";
    let url = mistakes.take("traces.otlp_url", url.ok_or(wrong))?;
    if (url.scheme() == "https") != authorities.is_some() {
        return mistakes.reject(
            "traces.ca_file",
            "must be set if traces.otlp_url is https://, and only then",
        );
    }
    Ok(Some(TraceSettings {
        url,
        authorities,
        ratio: raw.ratio,
    }))
}
