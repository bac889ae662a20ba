use proptest::prelude::*;

use super::*;
use crate::policy::NormalPath;

#[test]
fn the_model_finds_disagreements_between_servers() {
    for (path, expected) in [
        ("/a/%62", Some("/a/b")),
        ("/a/", Some("/a/")),
        ("/", Some("/")),
        ("/100%25", Some("/100%")),
        ("", None),
        ("a", None),
        ("/a/../b", None),
        ("/a/.", None),
        ("//a", None),
        ("/a%2fb", None),
        ("/a;b", None),
        ("/a%5cb", None),
        ("/a%23", None),
        ("/a%3f", None),
        ("/%2561", None),
        ("/%zz", None),
        ("/%ff", None),
        ("/%00", None),
    ] {
        assert_eq!(agreed_path(path.as_bytes()).as_deref(), expected, "{path}");
    }
}

proptest! {
    /// A path has a normal form exactly if all servers agree on it. The normal form is the path that the servers
    /// read.
    #[test]
    fn a_path_is_normal_exactly_if_all_servers_agree(
        path in "(/|a|[.]|%2e|%2E|%2f|%5c|\\\\|;|%3b|#|%23|[?]|%3f|%25|%61|é|%c3%a9|%ff|%|%0|\u{ff0f}|%00|\t){0,12}",
    ) {
        let normal = NormalPath::new(path.as_bytes()).ok();
        prop_assert_eq!(normal.map(|path| path.as_str().to_owned()), agreed_path(path.as_bytes()));
    }
}
