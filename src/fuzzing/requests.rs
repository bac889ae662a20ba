use crate::check::OriginalUrl;

/// Checks that the parts of a parsed URL together are the same URL, and that its host is valid.
pub(super) fn original_url(data: &[u8]) {
    let Ok(url) = OriginalUrl::parse(data) else {
        return;
    };
    let serialized = url.to_bytes();
    assert_eq!(OriginalUrl::parse(&serialized), Ok(url));
    assert!(data.ends_with(&url.target()));
    let (scheme, rest) = data.split_at(data.len() - url.host.len() - url.target().len());
    assert!(rest.starts_with(url.host.as_bytes()));
    assert!(scheme.ends_with(b"://") && scheme.len() <= 8);
    assert!(
        !url.host
            .bytes()
            .any(|byte| b"/\\@?#, \t\r\n".contains(&byte))
    );
    assert!(!serialized.iter().any(|byte| *byte <= b' ' || *byte == 0x7f));
}
