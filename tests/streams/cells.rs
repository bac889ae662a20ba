//! One Curfew in front of an application of each kind.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::Request;
use http::request::Builder;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};

use crate::application::{Application, Serve, TargetKind, serve_answers};
use crate::fronts::{Answer, Front, read};
use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::tls::{Certificates, install_provider};
use crate::support::{free_port, loopback};

pub type RequestBody = BoxBody<Bytes, std::io::Error>;

/// A Curfew with the proxy listener, and its applications.
pub struct Cells {
    pub curfew: Curfew,
    pub proxy: SocketAddr,
    pub session: CreatedSession,
    pub applications: Vec<(TargetKind, Application)>,
    /// Curfew reads these files again at a reload.
    _files: (tempfile::TempDir, Certificates),
}

/// Starts Curfew with the proxy listener and a configuration file. Returns the address of this listener.
pub fn start_proxy(setup: Setup, config_file: &Path) -> (Curfew, SocketAddr) {
    let proxy = loopback(free_port());
    let setup = setup.config_file(config_file);
    let curfew = setup.set("LISTEN__PROXY", &proxy.to_string()).start();
    (curfew, proxy)
}

impl Cells {
    pub async fn start() -> Self {
        Self::start_with(Setup::memory(), "").await
    }

    /// Starts Curfew with `setup` and further lines of configuration.
    pub async fn start_with(setup: Setup, further: &str) -> Self {
        Self::start_serving(setup, further, serve_answers).await
    }

    /// Starts Curfew with applications that serve their connections in another way.
    pub async fn start_serving(setup: Setup, further: &str, serve: Serve) -> Self {
        install_provider();
        let certificates = Certificates::generate();
        let directory = tempfile::tempdir().unwrap();
        let mut applications = Vec::new();
        let mut yaml = format!("{further}\nproxy:\n  health_path: /healthz\n  upstreams:\n");
        for kind in TargetKind::ALL {
            let application = Application::start_serving(kind, &certificates, serve).await;
            yaml += &format!(
                "    - host: {}\n      target: {}\n",
                host(kind),
                application.target
            );
            if kind == TargetKind::Https {
                yaml += &format!("      ca_file: {}\n", certificates.path_string("ca.pem"));
            }
            applications.push((kind, application));
        }
        let path = directory.path().join("curfew.yaml");
        std::fs::write(&path, yaml).unwrap();
        let (curfew, proxy) = start_proxy(setup, &path);
        let session = curfew.sign_in("alice").await;
        Self {
            curfew,
            proxy,
            session,
            applications,
            _files: (directory, certificates),
        }
    }

    /// Returns every combination of a client and an application.
    pub fn all(&self) -> impl Iterator<Item = Cell<'_>> {
        let applications = self.applications.iter();
        applications.flat_map(move |(kind, application)| {
            Front::ALL.map(|front| Cell {
                cells: self,
                front,
                kind: *kind,
                application,
            })
        })
    }
}

/// Returns the host of an application.
pub fn host(kind: TargetKind) -> String {
    format!("{kind:?}.example.com").to_lowercase()
}

/// A client and an application.
pub struct Cell<'a> {
    pub cells: &'a Cells,
    pub front: Front,
    pub kind: TargetKind,
    pub application: &'a Application,
}

impl Cell<'_> {
    /// Begins a request with the session of the cells.
    pub fn request(&self, method: &str, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", host(self.kind)))
            .header("cookie", self.cells.session.cookie())
    }

    /// Sends a request, and reads the whole answer.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Answer, String> {
        read(self.front.send(self.cells.proxy, request).await).await
    }

    /// Describes the cell for messages.
    pub fn name(&self) -> String {
        format!("{:?} → {:?}", self.front, self.kind)
    }
}

/// A body with this text.
pub fn body(text: &str) -> RequestBody {
    let body = Full::new(Bytes::from(text.to_owned()));
    BodyExt::boxed(body.map_err(|never| match never {}))
}
