//! Background requests of well-known applications: polling on a timer, and long-lived connections.
//!
//! The list omits requests that an action of a person can also cause. If Curfew did not count such requests as
//! activity, sessions in use would end.

/// An application and its background requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poller {
    /// The name in the configuration.
    pub name: &'static str,
    /// The requests, as pairs of a method and a path glob below the application's root.
    pub requests: &'static [(&'static str, &'static str)],
}

/// All known applications, sorted by name.
pub const ALL: [Poller; 10] = [
    // Rails' ActionCable, mounted at the path of the Rails guide.
    poller("action-cable", &[("GET", "/cable")]),
    // The event streams of argo-cd's ui/src/app/shared/services.
    poller("argocd", &[("GET", "/api/v1/stream/**")]),
    // The routes that GitLab caches for polling (lib/gitlab/etag_caching/router), and GitLab's ActionCable.
    poller(
        "gitlab",
        &[
            ("GET", "/**/realtime_changes"),
            ("GET", "/**/noteable/*/*/notes"),
            ("GET", "/-/cable"),
        ],
    ),
    // Grafana Live's connection, the token rotation of public/app/core/services/context_srv.ts, and front-end
    // metrics. Dashboard refreshes are not listed, because they send the same requests as a click.
    poller(
        "grafana",
        &[
            ("GET", "/api/live/ws"),
            ("POST", "/api/user/auth-tokens/rotate"),
            ("POST", "/api/frontend-metrics"),
        ],
    ),
    // The WebSocket of Home Assistant's front end.
    poller("home-assistant", &[("GET", "/api/websocket")]),
    // refreshPart() of Jenkins' hudson-behavior.js, the build history, and progressive console logs.
    poller(
        "jenkins",
        &[
            ("GET", "/**/ajaxBuildQueue"),
            ("POST", "/**/ajaxBuildQueue"),
            ("GET", "/**/ajaxExecutors"),
            ("POST", "/**/ajaxExecutors"),
            ("GET", "/**/buildHistory/ajax"),
            ("GET", "/**/logText/progressiveHtml"),
            ("POST", "/**/logText/progressiveHtml"),
        ],
    ),
    // The polls of @jupyterlab/services (KernelManager, SessionManager, TerminalManager,
    // KernelSpecManager), alone and behind JupyterHub.
    poller(
        "jupyter",
        &[
            (
                "GET",
                "/{,user/*/}api/{kernels,kernelspecs,sessions,terminals}",
            ),
            ("GET", "/{,user/*/}api/metrics/v1"),
        ],
    ),
    // The WebSocket of Mattermost's web application.
    poller("mattermost", &[("GET", "/api/v4/websocket")]),
    // The heartbeat of apps/user_status, the poll of apps/notifications, and the heartbeat of core, which keeps
    // Nextcloud's own session alive.
    poller(
        "nextcloud",
        &[
            ("PUT", "/ocs/v2.php/apps/user_status/api/v1/heartbeat"),
            ("GET", "/ocs/v2.php/apps/notifications/api/v2/notifications"),
            ("GET", "/{,index.php/}csrftoken"),
        ],
    ),
    // Engine.IO's long polling at its documented path. Only GET is listed, because messages from the page use POST.
    poller("socketio", &[("GET", "/socket.io/**")]),
];

const fn poller(name: &'static str, requests: &'static [(&'static str, &'static str)]) -> Poller {
    Poller { name, requests }
}

/// The application with this name; `None` if it is unknown.
#[must_use]
pub fn from_name(name: &str) -> Option<&'static Poller> {
    ALL.iter().find(|poller| poller.name == name)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::policy::PathPattern;

    /// Whether `poller` lists a request with this method and path.
    fn lists_request(poller: &str, method: &str, path: &str) -> bool {
        let requests = from_name(poller).unwrap().requests.iter();
        let mut requests = requests.filter(|(known, _)| *known == method);
        requests.any(|(_, glob)| match PathPattern::glob(glob).unwrap() {
            PathPattern::Glob(glob) => glob.compile_matcher().is_match(path),
            _ => unreachable!("the pattern should be a glob"),
        })
    }

    #[test]
    fn matches_background_requests_but_no_user_actions() {
        for (poller, method, path, expected) in [
            ("action-cable", "GET", "/cable", true),
            ("argocd", "GET", "/api/v1/stream/applications", true),
            (
                "argocd",
                "GET",
                "/api/v1/stream/applications/x/resource-tree",
                true,
            ),
            ("argocd", "GET", "/api/v1/applications/x", false),
            (
                "gitlab",
                "GET",
                "/group/project/-/issues/9/realtime_changes",
                true,
            ),
            (
                "gitlab",
                "GET",
                "/group/project/noteable/issue/12/notes",
                true,
            ),
            (
                "gitlab",
                "POST",
                "/group/project/noteable/issue/12/notes",
                false,
            ),
            ("gitlab", "GET", "/group/project/-/issues/9", false),
            ("grafana", "GET", "/api/live/ws", true),
            ("grafana", "POST", "/api/user/auth-tokens/rotate", true),
            ("grafana", "POST", "/api/ds/query", false),
            ("home-assistant", "GET", "/api/websocket", true),
            ("jenkins", "POST", "/ajaxBuildQueue", true),
            ("jenkins", "POST", "/view/all/ajaxExecutors", true),
            ("jenkins", "GET", "/job/a/job/b/buildHistory/ajax", true),
            ("jenkins", "POST", "/job/a/7/logText/progressiveHtml", true),
            ("jenkins", "POST", "/job/a/build", false),
            ("jupyter", "GET", "/api/kernels", true),
            ("jupyter", "GET", "/user/alice/api/terminals", true),
            ("jupyter", "GET", "/api/contents/a.ipynb", false),
            ("jupyter", "POST", "/api/kernels", false),
            ("mattermost", "GET", "/api/v4/websocket", true),
            ("mattermost", "POST", "/api/v4/posts", false),
            (
                "nextcloud",
                "PUT",
                "/ocs/v2.php/apps/user_status/api/v1/heartbeat",
                true,
            ),
            ("nextcloud", "GET", "/index.php/csrftoken", true),
            ("nextcloud", "GET", "/csrftoken", true),
            ("nextcloud", "GET", "/apps/files/", false),
            ("socketio", "GET", "/socket.io/", true),
            ("socketio", "POST", "/socket.io/", false),
        ] {
            assert_eq!(
                lists_request(poller, method, path),
                expected,
                "{poller}: {method} {path}"
            );
        }
    }

    #[test]
    fn every_poller_is_configurable_and_documented() {
        let page = include_str!("../../../../docs/rules.md");
        assert!(ALL.is_sorted_by_key(|poller| poller.name));
        for poller in ALL {
            for (method, glob) in poller.requests {
                assert!(Method::from_bytes(method.as_bytes()).is_ok());
                assert!(PathPattern::glob(glob).is_ok(), "{glob}");
                let row = page
                    .lines()
                    .find(|line| line.starts_with(&format!("| `{}` |", poller.name)));
                let row = row.unwrap_or_else(|| panic!("{} is not documented", poller.name));
                assert!(
                    row.contains(&format!("`{method} {glob}`")),
                    "{method} {glob} in {row}"
                );
            }
        }
    }
}
