use crate::check::OriginalUrl;

/// Parses an original URL. Its parts together are the same URL, and its host is valid.
pub(super) fn original_url(data: &[u8]) {
    let Ok(read) = OriginalUrl::parse(data) else {
        return;
    };
    let whole = read.to_bytes();
    assert_eq!(OriginalUrl::parse(&whole), Ok(read));
    assert!(data.ends_with(&read.target()));
    let (scheme, rest) = data.split_at(data.len() - read.host.len() - read.target().len());
    assert!(rest.starts_with(read.host.as_bytes()));
    assert!(scheme.ends_with(b"://") && scheme.len() <= 8);
    assert!(
        !read
            .host
            .bytes()
            .any(|byte| b"/\\@?#, \t\r\n".contains(&byte))
    );
    assert!(!whole.iter().any(|byte| *byte <= b' ' || *byte == 0x7f));
}
