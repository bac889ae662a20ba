use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};

/// The host of a request, with its port if it has one. An absolute request target and the pseudo-header `:authority`
/// take precedence over `Host` (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1).
///
/// # Errors
/// 400 if the host is missing, repeated or not text, or if the authority contains user information (RFC 9110, section
/// 4.2.4).
pub(super) fn host<B>(request: &Request<B>) -> Result<String, StatusCode> {
    let header = host_header(request.headers())?;
    if let Some(authority) = request.uri().authority() {
        if authority.as_str().contains('@') {
            return Err(StatusCode::BAD_REQUEST);
        }
        return Ok(authority.as_str().to_owned());
    }
    header.ok_or(StatusCode::BAD_REQUEST)
}

/// The header `Host`; `None` if it is missing.
fn host_header(headers: &HeaderMap) -> Result<Option<String>, StatusCode> {
    let mut lines = headers.get_all(HOST).into_iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let text = first.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_comes_from_one_place() {
        let bad = Err(StatusCode::BAD_REQUEST);
        for (uri, hosts, expected) in [
            ("/x", &["a.example.com"][..], Ok("a.example.com")),
            (
                "http://b.example.com/x",
                &["a.example.com"],
                Ok("b.example.com"),
            ),
            ("http://b.example.com:81/x", &[], Ok("b.example.com:81")),
            ("/x", &[], bad),
            ("/x", &["a.example.com", "a.example.com"], bad),
            ("http://b.example.com/x", &["a", "b"], bad),
            ("http://user@b.example.com/x", &[], bad),
        ] {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let request = request.body(()).unwrap();
            let found = host(&request);
            assert_eq!(
                found.as_deref().map_err(|status| *status),
                expected,
                "{uri} {hosts:?}"
            );
        }
    }
}
